"""A platform: a model and a seed, kept in a directory or for one run only."""
