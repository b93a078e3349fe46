"""softsgx policy test and explain: what would happen to signed enclaves, and why."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import open_platform, path_type, platform_option
from softsgx.formats.scan import Found, find_sigstructs
from softsgx.launch.decide import decide
from softsgx.launch.decision import Decision
from softsgx.launch.policy import Policy
from softsgx.launch.request import Request
from softsgx.launch.text import PolicyError, decode_policy
from softsgx.platform.errors import PlatformError

DENIED = 1

_FILES = click.argument("files", nargs=-1, required=True, type=path_type(exists=True))
_POLICY = click.option(
    "--policy", "file", type=path_type(exists=True), help="By this policy's file."
)
_FD = click.option(
    "--provision-fd", is_flag=True, help="As if /dev/sgx_provision was shown."
)


@click.command
@_FILES
@_POLICY
@_FD
@platform_option
def test(
    *, files: tuple[Path, ...], file: Path | None, provision_fd: bool, directory: Path
) -> int:
    """Say of each SIGSTRUCT in FILES if it may launch; exit 1 if one may not."""
    policy = _policy(file, directory)
    worst = 0
    for path in files:
        for found in sigstructs_in(path):
            decision, _ = _judged(policy, found, provision_fd=provision_fd)
            word = "allow" if decision.is_allowed else "deny"
            print(f"{word:5} {path}@{found.offset:#x}")
            worst = max(worst, 0 if decision.is_allowed else DENIED)
    return worst


@click.command
@_FILES
@_POLICY
@_FD
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@platform_option
def explain(
    *,
    files: tuple[Path, ...],
    file: Path | None,
    provision_fd: bool,
    as_json: bool,
    directory: Path,
) -> int:
    """Say why each SIGSTRUCT in FILES may launch or may not; exit 1 if one may not."""
    policy = _policy(file, directory)
    explained = [
        _explained(policy, path, found, provision_fd=provision_fd)
        for path in files
        for found in sigstructs_in(path)
    ]
    if as_json:
        print(json.dumps(explained, indent=2))
    else:
        for one in explained:
            for name, value in one.items():
                print(f"{name:10} {value}")
            print()
    return 0 if all(one["verdict"] != "deny" for one in explained) else DENIED


def sigstructs_in(path: Path) -> list[Found]:
    """Return the SIGSTRUCTs in a file; Failure if there is none."""
    found = list(find_sigstructs(path.read_bytes()))
    if not found:
        raise Failure(f"{path}: no SIGSTRUCT in it")
    return found


def _policy(file: Path | None, directory: Path) -> Policy:
    """Return the policy in a file, or the one that holds on a platform."""
    try:
        if file is not None:
            return decode_policy(file.read_bytes())
        return open_platform(directory).policies().rule().policy
    except PolicyError as error:
        raise Failure(f"{file}: {error}") from error
    except PlatformError as error:
        raise Failure(str(error)) from error


def _judged(
    policy: Policy, found: Found, *, provision_fd: bool
) -> tuple[Decision, Request]:
    """Decide about an enclave whose attributes are what its signer wrote."""
    request = Request.of(
        found.sigstruct,
        found.sigstruct.attributes.flags,
        datetime.now(UTC).date(),
        has_provision_fd=provision_fd,
    )
    return decide(policy, request), request


def _explained(
    policy: Policy, path: Path, found: Found, *, provision_fd: bool
) -> dict[str, object]:
    decision, request = _judged(policy, found, provision_fd=provision_fd)
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
