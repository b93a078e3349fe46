"""What is judged: one enclave that wants to launch, and who asks."""

from dataclasses import dataclass
from datetime import date
from typing import Self

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256

PROVISION = int(AttributeFlags.PROVISIONKEY)
LAUNCH = int(AttributeFlags.EINITTOKENKEY)
RESTRICTED = PROVISION | LAUNCH
"""Attributes that no enclave has without somebody's leave; plain ints are faster."""

DEBUG = int(AttributeFlags.DEBUG)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A copy of SIGSTRUCT, the SECS' attributes and the caller's context.

    *has_provision_fd*: it showed /dev/sgx_provision.  *token*: a valid EINITTOKEN, if
    it brought one.  *today* is a day of UTC.
    """

    sigstruct: Sigstruct
    mrsigner: bytes
    attributes: AttributeFlags
    today: date
    has_provision_fd: bool = False
    token: Einittoken | None = None
    is_locked: bool = False
    """The launch key cannot be set: EINIT has the last word, and /dev/isgx asks."""

    @classmethod
    def of(
        cls,
        sigstruct: Sigstruct,
        attributes: AttributeFlags,
        today: date,
        *,
        has_provision_fd: bool = False,
        token: Einittoken | None = None,
        is_locked: bool = False,
    ) -> Self:
        """Return the request of an enclave; its MRSIGNER comes from the modulus."""
        return cls(
            sigstruct=sigstruct,
            mrsigner=sha256(sigstruct.modulus),
            attributes=attributes,
            today=today,
            has_provision_fd=has_provision_fd,
            token=token,
            is_locked=is_locked,
        )

    @property
    def wants(self) -> int:
        """The attributes that need leave: PROVISION and LAUNCH."""
        return int(self.attributes) & RESTRICTED
