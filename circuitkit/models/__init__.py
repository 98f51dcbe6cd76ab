"""One hookable interface over the supported model families; the only package that imports transformer_lens."""
