"""Similarity of components across models, matching, nulls and the alignment score."""
