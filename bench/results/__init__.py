"""Recorded runs and the one way to read them; nothing else opens a file of a run."""
