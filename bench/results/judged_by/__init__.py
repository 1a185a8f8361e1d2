"""Runs judged by other metrics than their tasks' own, from stored logits."""
