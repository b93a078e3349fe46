"""Pages of enclaves that leave the EPC and come back: which, when, and how."""
