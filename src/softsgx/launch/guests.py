"""What the owner of a platform gives a guest leave for.

The guest itself is made by whoever may write to the platform; the owner signs.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

GUEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class WhoseLists(StrEnum):
    """Whose lists decide about enclaves in a guest."""

    HOST = "host"
    GUEST = "guest"


@dataclass(frozen=True, kw_only=True)
class GuestRules:
    """A table [guests.NAME]; the default is what a guest without one has.

    *provisioning*: its enclaves may have PROVISIONKEY.  *launch*: GUEST is plain KVM.
    *oversubscribe*: it may have more EPC than the host has left for it.
    """

    provisioning: bool = False
    launch: WhoseLists = WhoseLists.HOST
    oversubscribe: bool = False
