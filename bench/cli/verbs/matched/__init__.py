"""Commands that put recorded runs side by side at matched cost."""
