"""Files that a machine with SGX has: which, at which paths, and what calls say."""
