"""The owner's launch policy: data, and pure decisions over it."""
