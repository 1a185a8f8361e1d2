"""Logits that several runs share, stored once: what refers to them, and the command that packs and unpacks."""
