"""One run looked into: explained, diagnosed, served, its logits replayed."""
