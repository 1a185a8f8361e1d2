"""Two sets of results, cell by cell and sample by sample: what got better, what got worse, what nobody can tell."""
