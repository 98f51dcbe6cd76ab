"""One hookable interface over the model families; the only package that imports transformer_lens."""
