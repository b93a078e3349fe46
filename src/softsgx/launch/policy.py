"""A policy: four lists, memory rules, leave for guests, and how it is meant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from softsgx.launch.entry import Entries
from softsgx.launch.guests import GuestRules
from softsgx.launch.memory import MemoryRules

MAX_ENTRIES = 65536
"""Entries that one list can have."""


MAX_SERIAL = (1 << 63) - 1


class ListName(StrEnum):
    """The lists.  An empty one leaves things as Linux has them."""

    SIGNING = "signing"
    LAUNCH = "launch"
    PROVISIONING = "provisioning"
    DYNAMIC = "dynamic"


class Edition(StrEnum):
    """Whose decision table: ours, or that of a patch as it was posted."""

    SOFTSGX = "softsgx"
    V29 = "v29"
    V41 = "v41"


class Mode(StrEnum):
    """Whether refusals refuse, or are only written down."""

    ENFORCE = "enforce"
    AUDIT = "audit"


def _no_lists() -> dict[ListName, Entries]:
    return dict.fromkeys(ListName, Entries())


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the owner of a platform decided; the default is stock Linux.

    *serial* rises with each change.  *platform* is the identity of the one that it is
    for; empty: any.
    """

    serial: int = 0
    platform: str = ""
    edition: Edition = Edition.SOFTSGX
    mode: Mode = Mode.ENFORCE
    lists: Mapping[ListName, Entries] = field(default_factory=_no_lists)
    memory: MemoryRules = field(default_factory=MemoryRules)
    guests: Mapping[str, GuestRules] = field(default_factory=dict)

    def guest(self, name: str) -> GuestRules:
        """Return what a guest has leave for."""
        return self.guests.get(name, GuestRules())

    @property
    def signing(self) -> Entries:
        """Who may launch without a token."""
        return self.lists[ListName.SIGNING]

    @property
    def launch(self) -> Entries:
        """Who may be a launch enclave, and whose tokens are honoured."""
        return self.lists[ListName.LAUNCH]

    @property
    def provisioning(self) -> Entries:
        """Who has PROVISIONKEY without /dev/sgx_provision."""
        return self.lists[ListName.PROVISIONING]

    @property
    def dynamic(self) -> Entries:
        """Who may map and protect anew after INIT."""
        return self.lists[ListName.DYNAMIC]
