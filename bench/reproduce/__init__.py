"""Published claims put to the test: the runs that a paper's file plans, and verdicts from their records."""
