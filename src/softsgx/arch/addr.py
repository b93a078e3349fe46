"""Pages and linear addresses."""

from typing import NewType

Linaddr = NewType("Linaddr", int)
"""A linear address, in bytes; canonical or not is for the instruction to judge."""

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
"""Bytes in a page; SGX knows no other size."""
