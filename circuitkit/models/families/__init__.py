"""One module a model family."""
