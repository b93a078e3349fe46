"""softsgx guest: virtual machines of a platform, as KVM makes them."""

import json
from collections.abc import Callable
from pathlib import Path

import click

from softsgx.arch.msr import INTEL_LEPUBKEYHASH
from softsgx.cli.failure import Failure
from softsgx.cli.guest_words import domain_of, guest_line, guest_table, guest_words
from softsgx.cli.options import path_type, platform_option, read_limited, size
from softsgx.cli.signer import signer_of
from softsgx.cli.transfer import given_passphrase, passphrase_option
from softsgx.formats.domain import (
    Domain,
    libvirt_elements,
    qemu_options,
    read_domain,
)
from softsgx.formats.image import FormatError
from softsgx.launch.guests import WhoseLists
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import write_durably
from softsgx.platform.guest_record import (
    OWN,
    WRITABLE,
    GuestRecord,
    Keys,
    check_guest,
)
from softsgx.platform.guest_transfer import bring_in_guest, check_export, export_guest
from softsgx.platform.guests import Guest, Guests
from softsgx.platform.platform import Platform
from softsgx.service.control import Operator, Unserved
from softsgx.virt.kvm import Kvm

_NAME = click.argument("name")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group
def command() -> None:
    """Guests: virtual machines with a part of the platform's EPC.

    `softsgx run --platform P --guest NAME -- PROG` runs a program as on a Linux inside
    one that was started.  docs/guests.md explains.
    """


@command.command
@_NAME
@platform_option
@click.option(
    "--epc", type=size, default="64M", metavar="SIZE", help="64M unless told."
)
@click.option(
    "--lepubkeyhash",
    metavar="HEX|own|writable",
    help="Its launch key: an MRSIGNER, the platform's, or what its software writes.",
)
@click.option(
    "--provisioning",
    is_flag=True,
    help="Ask for PROVISIONKEY; the owner gives leave in the policy.",
)
@click.option(
    "--launch",
    type=click.Choice([str(one) for one in WhoseLists]),
    default=str(WhoseLists.HOST),
    help="Whose lists decide about its enclaves; the host's unless told.",
)
@click.option(
    "--keys",
    type=click.Choice([str(one) for one in Keys]),
    default=str(Keys.SHARED),
    help="The platform's keys, as on hardware, or its own; shared unless told.",
)
@click.option(
    "--kvm",
    type=click.Choice([str(one) for one in Kvm]),
    default=str(Kvm.LINUX_6_12),
    help="Which Linux's KVM it runs on.",
)
def new(  # noqa: PLR0913 -- one for each option
    *,
    name: str,
    directory: Path,
    epc: int,
    lepubkeyhash: str | None,
    provisioning: bool,
    launch: str,
    keys: str,
    kvm: str,
) -> None:
    """Make a guest; it is off until `softsgx guest start`."""
    platform = Platform.open(directory)
    record = GuestRecord(
        epc_bytes=epc,
        lepubkeyhash=_launch_key(platform, lepubkeyhash),
        provisioning=provisioning,
        launch=WhoseLists(launch),
        keys=Keys(keys),
        kvm=Kvm(kvm),
    )
    check_guest(record)
    guests = Guests(platform)
    guest = guests.create(name, record)
    print(guest_line(guest))
    if provisioning and not guests.has_provisioning(guest):
        hint = f"`softsgx policy guest {name} --provisioning yes`"
        click.echo(f"softsgx: {name} has no PROVISIONKEY until {hint}", err=True)


def _launch_key(platform: Platform, word: str | None) -> str:
    """Return the record's word for a launch key."""
    if word is None:
        return WRITABLE if platform.model.flc else OWN
    if word in (WRITABLE, OWN):
        return word
    return signer_of(word, "--lepubkeyhash").hex()


@command.command(name="list")
@platform_option
@_JSON
def list_guests(*, directory: Path, as_json: bool) -> None:
    """List the guests of a platform."""
    platform = Platform.open(directory)
    guests = Guests(platform).all()
    if as_json:
        print(json.dumps([guest_words(platform, guest) for guest in guests], indent=2))
        return
    for guest in guests:
        print(guest_line(guest))


@command.command
@_NAME
@platform_option
@_JSON
@click.option("--libvirt", is_flag=True, help="Print its elements of a domain's XML.")
@click.option("--qemu", is_flag=True, help="Print the options of QEMU for it.")
def show(
    *, name: str, directory: Path, as_json: bool, libvirt: bool, qemu: bool
) -> None:
    """Say what a guest is; --json has the fields of QMP's query-sgx."""
    if as_json + libvirt + qemu > 1:
        raise click.UsageError("--json, --libvirt and --qemu: only one at a time")
    platform = Platform.open(directory)
    guest = Guests(platform).open(name)
    if libvirt or qemu:
        domain = domain_of(guest)
        print(libvirt_elements(domain) if libvirt else qemu_options(domain))
        _warn_of_launch_key(guest)
        return
    words = guest_words(platform, guest)
    print(json.dumps(words, indent=2) if as_json else "\n".join(guest_table(words)))


def _warn_of_launch_key(guest: Guest) -> None:
    if guest.record.lepubkeyhash not in (WRITABLE, INTEL_LEPUBKEYHASH.hex()):
        why = "hardware's guest without sgxlc has Intel's launch key, not this one's"
        click.echo(f"softsgx: {guest.name}: {why}", err=True)


@command.command
@_NAME
@platform_option
def start(*, name: str, directory: Path) -> None:
    """Turn a guest on: its EPC is its own until it stops."""
    guests = Guests(Platform.open(directory))
    _have_done(directory, name, "start", guests.start)
    print(guest_line(guests.open(name)))


def _have_done(
    directory: Path, name: str, what: str, do: Callable[[str], object]
) -> None:
    """Have the platform's daemon do something to a guest; without one, do it."""
    try:
        with Operator(directory) as operator:
            operator.ask(f"guest.{what}", name=name)
    except Unserved:
        do(name)


@command.command
@_NAME
@platform_option
def stop(*, name: str, directory: Path) -> None:
    """Turn a guest off in which no program runs."""
    guests = Guests(Platform.open(directory))
    _have_done(directory, name, "stop", guests.stop)
    print(guest_line(guests.open(name)))


@command.command
@_NAME
@platform_option
def reset(*, name: str, directory: Path) -> None:
    """Reset a guest by force: its programs end, its EPC is empty."""
    guests = Guests(Platform.open(directory))
    _have_done(directory, name, "reset", guests.reset)
    print(guest_line(guests.open(name)))


@command.command
@_NAME
@platform_option
def delete(*, name: str, directory: Path) -> None:
    """Delete a guest that is off."""
    Guests(Platform.open(directory)).delete(name)
    print(f"{name}: deleted")


@command.command(name="export")
@_NAME
@platform_option
@passphrase_option
@click.option(
    "-o", "output", required=True, type=path_type(), help="The file to write."
)
def export_command(
    *, name: str, directory: Path, passphrase_file: Path | None, output: Path
) -> None:
    """Write a guest into a file, keys too; a passphrase locks it."""
    guest = Guests(Platform.open(directory)).open(name)
    locked = export_guest(guest, given_passphrase(passphrase_file, confirm=True))
    write_durably(output, locked, 0o600)
    print(f"{output}: {guest_line(guest)}")


@command.command(name="import")
@click.argument("file", type=path_type(exists=True))
@click.argument("name", required=False)
@platform_option
@passphrase_option
def import_command(
    *, file: Path, name: str | None, directory: Path, passphrase_file: Path | None
) -> None:
    """Make a guest of what `export` wrote, or of a libvirt domain.

    FILE is the export, or the domain's XML; without NAME the guest has the name in it.
    """
    guests = Guests(Platform.open(directory))
    raw = read_limited(file)
    try:
        if raw.lstrip().startswith(b"<"):
            domain = read_domain(raw)
            guest = guests.create(name or domain.name, _record_of(domain))
        else:
            check_export(raw)
            passphrase = given_passphrase(passphrase_file, confirm=False)
            guest = bring_in_guest(guests, name, raw, passphrase)
    except (PlatformError, FormatError) as error:
        raise Failure(f"{file}: {error}") from error
    print(guest_line(guest))


def _record_of(domain: Domain) -> GuestRecord:
    """Return the record of a domain; one without SGX_LC has Intel's launch key."""
    record = GuestRecord(
        epc_bytes=domain.epc_bytes,
        lepubkeyhash=WRITABLE if domain.has_lc else INTEL_LEPUBKEYHASH.hex(),
        provisioning=domain.provisioning,
    )
    check_guest(record)
    return record
