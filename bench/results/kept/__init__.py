"""What is made of recorded logits once and kept for later readers."""
