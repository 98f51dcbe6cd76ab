"""Shared nouns, saving and loading of results, errors."""
