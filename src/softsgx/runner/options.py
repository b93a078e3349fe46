"""How a program is to be run."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from softsgx.platform.platform import Platform

if TYPE_CHECKING:
    from softsgx.platform.guests import Guest

MASK_PF_SGX = "mask-pf-sgx"
"""Injection: page faults lose the SGX bit of their error code."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `softsgx run` was told; *trace* is where the trace is printed.

    *guest*: the one of the platform that the program runs in.  *first*: a process that
    finds files as the program does when it begins; "self" is ours.
    """

    platform: Platform
    guest: "Guest | None" = None
    first: int | str = "self"
    exact: bool = False
    trace: TextIO | None = None
    counts: bool = False
    inject: frozenset[str] = field(default_factory=frozenset)
    is_plain: bool = False
    """There were no options: `runner.quick` does the same, faster."""
