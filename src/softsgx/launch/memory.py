"""What may become executable in an enclave: the rules once proposed for Linux's LSMs.

They come from the SGX LSM series of June and July 2019 (20190619222401.14942-10 and
-11; cover.1562542383.git.cedric.xing@intel.com); each is off unless the owner wants it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self


class Setting(StrEnum):
    """What a memory rule does."""

    OFF = "off"
    AUDIT = "audit"
    ENFORCE = "enforce"


@dataclass(frozen=True, kw_only=True)
class MemoryRules:
    """The five rules."""

    execunmr: Setting = Setting.OFF
    """Executable pages that are added unmeasured."""
    execdirty: Setting = Setting.OFF
    """Pages added both writable and executable."""
    execanon: Setting = Setting.OFF
    """Executable pages whose source is no file's, or was modified privately."""
    mapwx: Setting = Setting.OFF
    """Mappings both writable and executable."""
    execsig: Setting = Setting.OFF
    """A SIGSTRUCT that does not lie in an executable mapping of a file."""

    @classmethod
    def strictest(cls) -> Self:
        """Return all rules, enforced."""
        return cls(**{rule.name: Setting.ENFORCE for rule in fields(cls)})


PERMISSIONS = {
    "execunmr": "sgx_execunmr",
    "execdirty": "sgx_execdirty",
    "execanon": "sgx_execanon",
    "mapwx": "sgx_mapwx",
    "execsig": "execute",
}
"""The proposals' names of the permissions, the last a file's, for the audit record."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Pages that are about to be added, and where they come from."""

    writable: bool = False
    executable: bool = False
    measured: bool = False
    from_file: bool = False


@dataclass(frozen=True)
class Breach:
    """A rule that something breaks, and whether it is enforced."""

    rule: str
    setting: Setting
    reason: str

    @property
    def permission(self) -> str:
        """The permission that is lacking, as the proposals name it."""
        return PERMISSIONS[self.rule]

    @property
    def is_refused(self) -> bool:
        """Say whether it is refused, not only written down."""
        return self.setting is Setting.ENFORCE


def decide_load(rules: MemoryRules, load: Load) -> list[Breach]:
    """Return the rules that adding pages would break."""
    if not load.executable:
        return []
    return list(
        _breaches(
            rules,
            execdirty=(load.writable, "the page is writable and executable"),
            execunmr=(not load.measured, "an executable page is not measured"),
            execanon=(not load.from_file, "an executable page comes from no file"),
        )
    )


def decide_map(rules: MemoryRules, *, writable: bool, executable: bool) -> list[Breach]:
    """Return the rules that a mapping or a change of its protection would break."""
    breaks = writable and executable
    return list(
        _breaches(rules, mapwx=(breaks, "the mapping is writable and executable"))
    )


def decide_init(rules: MemoryRules, *, from_file: bool) -> list[Breach]:
    """Return the rules that a SIGSTRUCT from that place would break."""
    reason = "SIGSTRUCT is not in an executable mapping of a file"
    return list(_breaches(rules, execsig=(not from_file, reason)))


def _breaches(rules: MemoryRules, **broken: tuple[bool, str]) -> Iterator[Breach]:
    for rule in fields(rules):
        is_broken, reason = broken.get(rule.name, (False, ""))
        setting: Setting = getattr(rules, rule.name)
        if is_broken and setting is not Setting.OFF:
            yield Breach(rule.name, setting, reason)
