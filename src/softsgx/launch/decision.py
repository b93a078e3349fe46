"""What a policy decided, which rule did, and why in words."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from softsgx.launch.request import Request


class Refusal(StrEnum):
    """What an enclave was refused for; Linux says EPERM and EACCES."""

    SIGNER = "signer"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Allowed unless *refusal*; *rule* is the list's entry, or the rule, that decided.

    *launchkeys*: hashes to set, in turn, until EINIT agrees, given the token or none.
    *is_dynamic*: it may map and protect pages after INIT.
    """

    rule: str
    reason: str
    refusal: Refusal | None = None
    granted: int = 0
    """Of the restricted attributes, those it has leave for."""
    launchkeys: tuple[bytes, ...] = ()
    takes_token: bool = False
    is_dynamic: bool = True
    is_waived: bool = False

    @property
    def is_allowed(self) -> bool:
        """Say whether EINIT may be tried."""
        return self.refusal is None

    def waived(self, request: Request) -> Self:
        """Return what happens instead while the policy is only watched."""
        if self.is_allowed and self.is_dynamic:
            return self
        return replace(
            self,
            refusal=None,
            granted=self.granted | request.wants,
            launchkeys=self.launchkeys or (request.mrsigner,),
            is_dynamic=True,
            is_waived=True,
        )
