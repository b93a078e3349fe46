"""The room that knows the cryptography library: MAC, hash, signature, entropy."""
