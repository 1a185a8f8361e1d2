"""The commands for a model of one's own: judge it, take it home, watch it, bring its logits in."""
