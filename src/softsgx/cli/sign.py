"""softsgx sign: flat ELF in, SIGSTRUCT out."""

import datetime
import json
from pathlib import Path

import click

from softsgx.arch.sigstruct import Sigstruct
from softsgx.cli.failure import Failure
from softsgx.cli.options import path_type, size
from softsgx.crypto.rsa import KeyFormError, SigningKey
from softsgx.formats.elf import read_flat
from softsgx.formats.image import FormatError, Image
from softsgx.formats.sign import Claims, mrsigner, sign_image
from softsgx.platform.files import write_durably

_U16 = click.IntRange(0, 0xFFFF)


def _date(text: str) -> int:
    """Read yyyy-mm-dd as the number yyyymmdd."""
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date like 2024-02-29") from None
    return _number(day)


def _number(day: datetime.date) -> int:
    return int(day.strftime("%Y%m%d"))


@click.command
@click.argument("enclave", type=path_type(exists=True), required=False)
@click.option("--key", type=path_type(exists=True), help="RSA-3072 key, e = 3, in PEM.")
@click.option("--out", type=path_type(), help="The SIGSTRUCT to write, 1808 bytes.")
@click.option("--new-key", type=path_type(), help="Make a key, in a new file.")
@click.option("--debug", is_flag=True, help="A debug enclave: others may look inside.")
@click.option("--launch", is_flag=True, help="A launch enclave: it makes tokens.")
@click.option("--isvprodid", type=_U16, default=0, help="Product number.")
@click.option("--isvsvn", type=_U16, default=0, help="Security version number.")
@click.option(
    "--date",
    type=_date,
    metavar="YYYY-MM-DD",
    help="Day of signing; today unless told.",
)
@click.option(
    "--heap",
    type=size,
    default="0",
    metavar="SIZE",
    help="Unmeasured bytes after the last segment.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(  # noqa: PLR0913 -- one for each option
    ctx: click.Context,
    *,
    enclave: Path | None,
    key: Path | None,
    out: Path | None,
    new_key: Path | None,
    debug: bool,
    launch: bool,
    isvprodid: int,
    isvsvn: int,
    date: int | None,
    heap: int,
    as_json: bool,
) -> None:
    """Sign ENCLAVE, a flat ELF file, and print its identities.

    The file is measured as a loader will build it; see docs/flat-elf.md for the
    format.  No key is made unless asked: `softsgx sign --new-key KEY.pem`.
    """
    if new_key is not None:
        _make_key(new_key)
        key = key or new_key
        if enclave is None:
            return
    if enclave is None or key is None or out is None:
        raise click.UsageError("ENCLAVE, --key and --out are needed", ctx)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    claims = Claims(
        date=date or _number(today),
        isvprodid=isvprodid,
        isvsvn=isvsvn,
        debug=debug,
        launch=launch,
    )
    sigstruct = sign_image(_read_image(enclave, heap), claims, _read_key(key))
    write_durably(out, bytes(sigstruct))
    _show(sigstruct, as_json=as_json)


def _make_key(path: Path) -> None:
    if path.exists():
        raise Failure(f"{path}: exists; a key is never overwritten")
    write_durably(path, SigningKey.generate().to_pem(), 0o600)


def _read_key(path: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(path.read_bytes())
    except KeyFormError as error:
        raise Failure(f"{path}: {error}") from error
    except TypeError as error:
        raise Failure(f"{path}: the key is encrypted") from error
    except ValueError as error:
        raise Failure(f"{path}: not a private key in PEM") from error


def _read_image(path: Path, heap: int) -> Image:
    try:
        return read_flat(path.read_bytes(), heap)
    except FormatError as error:
        raise Failure(f"{path}: {error}") from error


def _show(sigstruct: Sigstruct, *, as_json: bool) -> None:
    identities: dict[str, object] = {
        "mrenclave": sigstruct.enclavehash.hex(),
        "mrsigner": mrsigner(sigstruct).hex(),
        "isvprodid": sigstruct.isvprodid,
        "isvsvn": sigstruct.isvsvn,
        "date": f"{sigstruct.date:08x}",
        "attributes": int(sigstruct.attributes.flags),
        "xfrm": sigstruct.attributes.xfrm,
    }
    if as_json:
        print(json.dumps(identities, indent=2))
        return
    for name in ("mrenclave", "mrsigner"):
        print(f"{name.upper():9} {identities[name]}")
