"""A run taken home: a folder that answers without ExitBench, and whether new texts are still like the recorded ones."""
