"""Ablations and the exact replay sweep."""
