"""Figures that Distilled Circuits and its notebooks print, as data: only those that `reproduce` compares with."""
