"""One cell, from question to record."""
