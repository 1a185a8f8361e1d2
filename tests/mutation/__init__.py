"""Mutation testing of our own: small mistakes are made in a copy of the tree, and the tests have to notice.

``python -m tests.mutation`` chooses, runs and lists; what it found last is in tests/README.md.
"""
