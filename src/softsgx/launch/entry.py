"""An entry of a list: a signer, and what its enclaves are narrowed to."""

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from softsgx.arch.einittoken import Einittoken
from softsgx.launch.request import DEBUG, Request


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A signer (MRSIGNER, 32 bytes), narrowed by whatever else is given.

    *debug* false keeps DEBUG enclaves out; *expires* is its last day, UTC.
    """

    mrsigner: bytes
    mrenclave: bytes | None = None
    isvprodid: int | None = None
    min_isvsvn: int = 0
    debug: bool = True
    expires: date | None = None
    comment: str = ""

    @property
    def is_narrow(self) -> bool:
        """Say whether it is less than a whole signer."""
        return self != Entry(mrsigner=self.mrsigner, comment=self.comment)

    def given(self) -> dict[str, str | int | date]:
        """Return what it says, by the keys of the policy's file; hashes in hex."""
        said = {"mrsigner": self.mrsigner.hex()} | {
            "mrenclave": None if self.mrenclave is None else self.mrenclave.hex(),
            "isvprodid": self.isvprodid,
            "min_isvsvn": self.min_isvsvn or None,
            "debug": None if self.debug else False,
            "expires": self.expires,
            "comment": self.comment or None,
        }
        return {key: value for key, value in said.items() if value is not None}

    def has_expired(self, today: date) -> bool:
        """Say whether its last day is over."""
        return self.expires is not None and today > self.expires

    def honours(self, token: Einittoken, today: date) -> bool:
        """Say whether a token of this signer's launch enclave counts.

        A token does not tell its launch enclave's MRENCLAVE; INIT of that one did.
        """
        is_debug = int(token.maskedattributesle.flags) & DEBUG
        return (
            not self.has_expired(today)
            and self.isvprodid in (None, token.isvprodidle)
            and token.isvsvnle >= self.min_isvsvn
            and (self.debug or not is_debug)
        )

    def mismatch(self, request: Request) -> str | None:
        """Say why an enclave of this signer is not meant; None if it is."""
        sigstruct = request.sigstruct
        if self.has_expired(request.today):
            return f"the entry expired on {self.expires}"
        if self.mrenclave is not None and sigstruct.enclavehash != self.mrenclave:
            return f"MRENCLAVE is not {self.mrenclave.hex()}"
        if self.isvprodid is not None and sigstruct.isvprodid != self.isvprodid:
            return f"ISVPRODID is {sigstruct.isvprodid}, not {self.isvprodid}"
        if sigstruct.isvsvn < self.min_isvsvn:
            return f"ISVSVN is {sigstruct.isvsvn}, below {self.min_isvsvn}"
        if int(request.attributes) & DEBUG and not self.debug:
            return "DEBUG enclaves are kept out"
        return None


@dataclass(frozen=True)
class Match:
    """What a list says of an enclave: the entry that means it, or why none does."""

    at: int | None
    why_not: str = ""

    def __bool__(self) -> bool:
        return self.at is not None


@dataclass(frozen=True)
class Entries:
    """A list of entries, looked up by signer: ten thousand are as fast as ten.

    An entry that has expired means nobody, and is still there: a list never opens
    because all in it grew old.
    """

    all: tuple[Entry, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def find(self, request: Request) -> Match:
        """Return the first entry that means an enclave."""
        reason = "the signer is not listed"
        for at in self._by_signer.get(request.mrsigner, ()):
            mismatch = self.all[at].mismatch(request)
            if mismatch is None:
                return Match(at)
            reason = mismatch
        return Match(None, reason)

    def of_signer(self, mrsigner: bytes) -> tuple[Entry, ...]:
        """Return the entries of one signer, in the list's order."""
        return tuple(self.all[at] for at in self._by_signer.get(mrsigner, ()))

    def honouring(self, token: Einittoken, today: date) -> tuple[bytes, ...]:
        """Return the signers whose launch enclaves' tokens like this one count."""
        return tuple(
            signer
            for signer in self.signers
            if any(one.honours(token, today) for one in self.of_signer(signer))
        )

    @cached_property
    def signers(self) -> tuple[bytes, ...]:
        """The signers, in the list's order, each once."""
        return tuple(self._by_signer)

    @cached_property
    def _by_signer(self) -> dict[bytes, tuple[int, ...]]:
        places: dict[bytes, list[int]] = {}
        for at, entry in enumerate(self.all):
            places.setdefault(entry.mrsigner, []).append(at)
        return {signer: tuple(ats) for signer, ats in places.items()}
