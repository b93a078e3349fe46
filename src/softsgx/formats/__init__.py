"""Enclave files: bytes in, an image to load or to sign out.  Pure."""
