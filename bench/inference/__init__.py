"""How exits are taken: all of them recorded in one pass, replayed by a criterion, or taken live by an executor."""
