"""Files that a criterion, recipe, head, backbone or task of one's own begins as, and the test of each."""
