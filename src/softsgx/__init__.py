"""A software Intel SGX platform."""

__version__ = "0.1.0"
