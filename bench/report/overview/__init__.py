"""What the page says first of every panel, and which samples its systems answer differently."""
