"""The commands about the harness itself: what is ready, how fast and how right it is, how its files lie."""
