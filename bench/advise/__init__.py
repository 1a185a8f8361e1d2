"""Somebody's own model: what was made elsewhere comes in and stands beside our runs."""
