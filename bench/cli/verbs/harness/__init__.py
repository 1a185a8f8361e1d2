"""The commands about the harness itself: what is ready, how fast it is, whether its numbers keep their word."""
