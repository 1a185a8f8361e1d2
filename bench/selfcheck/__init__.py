"""The harness measured by itself: its engine, curves, sweeps, intervals and tests."""
