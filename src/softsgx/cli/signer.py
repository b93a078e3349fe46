"""Whom people mean by a signer: an MRSIGNER in hex, or a file with a SIGSTRUCT."""

from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.verdicts import sigstructs_in
from softsgx.crypto.sha256 import sha256


def signer_of(text: str, hint: str = "SIGNER") -> bytes:
    """Return the MRSIGNER that was given, or that of the SIGSTRUCT in a file."""
    path = Path(text)
    if not path.exists():
        return digest(
            text, hint, "64 hex digits, or a file with a SIGSTRUCT, are expected"
        )
    found = sigstructs_in(path)
    signers = {sha256(one.sigstruct.modulus) for one in found}
    if len(signers) != 1:
        raise Failure(f"{path}: {len(signers)} signers in it, and one is needed")
    return signers.pop()


def digest(text: str, hint: str, wanted: str = "64 hex digits are expected") -> bytes:
    """Read 32 bytes in hex, given as *hint*; *wanted* says what should be there."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise click.BadParameter(f"{text!r}: {wanted}", param_hint=hint)
    return raw
