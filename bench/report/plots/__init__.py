"""Figures for a paper: which systems stand in them, what they show, and each kind by its name."""
