"""ExitBench from Python: what ``bench.run`` and ``bench.load`` give, and what the commands stand on."""
