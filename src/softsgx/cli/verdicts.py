"""softsgx policy test and explain: what would happen to signed enclaves, and why."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path

import click

from softsgx.arch.einittoken import VALID, Einittoken
from softsgx.cli.failure import Failure
from softsgx.cli.options import path_type, platform_option, read_limited
from softsgx.formats.scan import Found, find_sigstructs
from softsgx.launch.decide import decide
from softsgx.launch.policy import Policy
from softsgx.launch.request import Request
from softsgx.launch.text import PolicyError, decode_policy
from softsgx.platform.platform import Platform

DENIED = 1
MOST_SCANNED = 1 << 30
"""Bytes of a file that are searched for SIGSTRUCTs."""

Verdict = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the command line asks: which files, by which policy, with what shown."""

    files: tuple[Path, ...]
    file: Path | None
    token: Path | None
    provision_fd: bool
    directory: Path


_OPTIONS = (
    platform_option,
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "--token",
        type=path_type(exists=True),
        help="As if it came with this EINITTOKEN; its MAC is not checked.",
    ),
    click.option(
        "--provision-fd", is_flag=True, help="As if /dev/sgx_provision was shown."
    ),
    click.option(
        "--policy",
        "file",
        type=path_type(exists=True),
        help="By this policy's file.",
    ),
    click.argument(
        "files",
        metavar="FILE...",
        nargs=-1,
        required=True,
        type=path_type(exists=True),
    ),
)


def _asking(command: Callable[..., int]) -> Callable[..., int]:
    """Add the files, and what is asked of them, to a command."""

    @wraps(command)
    def ask(
        *,
        as_json: bool,
        files: tuple[Path, ...],
        file: Path | None,
        token: Path | None,
        provision_fd: bool,
        directory: Path,
    ) -> int:
        asked = _Asked(
            files=files,
            file=file,
            token=token,
            provision_fd=provision_fd,
            directory=directory,
        )
        return command(as_json=as_json, asked=asked)

    for option in _OPTIONS:
        ask = option(ask)
    return ask


@click.command
@_asking
def test(*, as_json: bool, asked: _Asked) -> int:
    """Say of each SIGSTRUCT in FILES whether it may launch.

    Exits 1 if one may not.
    """
    verdicts = list(_verdicts(asked))
    if as_json:
        print(json.dumps(verdicts, indent=2))
    else:
        for one in verdicts:
            print(f"{one['verdict']:6} {one['file']}@{one['offset']:#x}")
    return _exit_code(verdicts)


@click.command
@_asking
def explain(*, as_json: bool, asked: _Asked) -> int:
    """Say why each SIGSTRUCT in FILES may launch, or may not.

    Exits 1 if one may not.
    """
    verdicts = list(_verdicts(asked))
    if as_json:
        print(json.dumps(verdicts, indent=2))
    else:
        for one in verdicts:
            for name, value in one.items():
                print(f"{name:10} {value}")
            print()
    return _exit_code(verdicts)


def _exit_code(verdicts: list[Verdict]) -> int:
    return DENIED if any(one["verdict"] == "deny" for one in verdicts) else 0


def sigstructs_in(path: Path) -> list[Found]:
    """Return the SIGSTRUCTs in a file; Failure if there is none."""
    found = list(find_sigstructs(read_limited(path, MOST_SCANNED)))
    if not found:
        raise Failure(f"{path}: no SIGSTRUCT in it")
    return found


def _verdicts(asked: _Asked) -> Iterator[Verdict]:
    policy, given = _policy(asked.file, asked.directory), _token(asked.token)
    for path in asked.files:
        for found in sigstructs_in(path):
            # Its loader may set other attributes; its signer wrote these.
            request = Request.of(
                found.sigstruct,
                found.sigstruct.attributes.flags,
                datetime.now(UTC).date(),
                has_provision_fd=asked.provision_fd,
                token=given,
            )
            yield _verdict(policy, path, found, request)


def _policy(file: Path | None, directory: Path) -> Policy:
    """Return the policy in a file, or the one that holds on a platform."""
    if file is None:
        return Platform.open(directory).policies().rule().policy
    try:
        return decode_policy(read_limited(file))
    except PolicyError as error:
        raise Failure(f"{file}: {error}") from error


def _token(path: Path | None) -> Einittoken | None:
    if path is None:
        return None
    raw = read_limited(path)
    if len(raw) != Einittoken.SIZE:
        raise Failure(f"{path}: not an EINITTOKEN of {Einittoken.SIZE} bytes")
    token = Einittoken.from_bytes(raw)
    return token if token.valid & VALID else None


def _verdict(policy: Policy, path: Path, found: Found, request: Request) -> Verdict:
    decision = decide(policy, request)
    verdict = "allow" if decision.is_allowed else "deny"
    return {
        "file": str(path),
        "offset": found.offset,
        "mrsigner": request.mrsigner.hex(),
        "mrenclave": found.sigstruct.enclavehash.hex(),
        "isvprodid": found.sigstruct.isvprodid,
        "isvsvn": found.sigstruct.isvsvn,
        "attributes": request.attributes.words(),
        "verdict": "waived" if decision.is_waived else verdict,
        "rule": decision.rule,
        "reason": decision.reason,
    }
