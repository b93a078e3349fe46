"""Guests in words: a line, a table, JSON with the fields of QMP, and other tools'."""

from collections.abc import Iterator

from softsgx.formats.domain import Domain
from softsgx.platform.guest_record import WRITABLE
from softsgx.platform.guests import Guest, Guests
from softsgx.platform.platform import Platform
from softsgx.virt.vcpu import Vcpu

Words = dict[str, object]


def guest_line(guest: Guest) -> str:
    """Say the most important of a guest."""
    record = guest.record
    state = "on" if record.is_on else "off"
    line = f"{guest.name}: {state}, {record.epc_bytes >> 10} KiB of EPC"
    if record.resident_bytes:
        line += f", {record.resident_bytes >> 10} of them at a time"
    return line


def guest_words(platform: Platform, guest: Guest) -> Words:
    """Return what a guest is: `query-sgx` of QEMU's QMP, then what only we have."""
    record = guest.record
    leave = Guests(platform).has_provisioning(guest)
    setup = record.setup(platform.record.lepubkeyhash)
    vcpu = Vcpu(platform.machine(), setup, provisioning=leave)
    return {
        "name": guest.name,
        "state": "on" if record.is_on else "off",
        "sgx": vcpu.model.sgx1 and platform.is_on,
        "sgx1": vcpu.model.sgx1,
        "sgx2": vcpu.model.sgx2,
        "flc": vcpu.model.flc,
        "sections": [{"node": 0, "size": record.epc_bytes}],
        "epc_bytes": record.epc_bytes,
        "resident_bytes": record.held_bytes,
        "lepubkeyhash": record.lepubkeyhash,
        "provisioning": "yes" if leave else "asked" if record.provisioning else "no",
        "launch": record.launch,
        "keys": record.keys,
        "identity": guest.identity or platform.identity,
        "kvm": record.kvm,
    }


def guest_table(words: Words) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yes = {True: "yes", False: "no"}
    for key, value in words.items():
        if key != "sections":
            yield f"{key:16} {yes[value] if isinstance(value, bool) else value}"


def domain_of(guest: Guest) -> Domain:
    """Return a guest as other tools know one."""
    record = guest.record
    return Domain(
        name=guest.name,
        epc_bytes=record.epc_bytes,
        provisioning=record.provisioning,
        has_lc=record.lepubkeyhash == WRITABLE,
    )
