"""softsgx policy: who may launch enclaves on a platform."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import open_platform, path_type, platform_option
from softsgx.cli.signer import digest, signer_of
from softsgx.cli.verdicts import explain, test
from softsgx.cli.words import policy_table, policy_words
from softsgx.crypto.sshsig import SshKey, SshKeyError, SshSignatureError
from softsgx.formats.whitelist import WhitelistError, read_whitelist
from softsgx.launch.change import ALL_LISTS, Refused, allow, remove
from softsgx.launch.entry import Entry
from softsgx.launch.policy import ListName, Policy
from softsgx.launch.text import PolicyError, decode_policy, encode_policy
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.policies import NAMESPACE, Policies

_NAMES = [str(name) for name in ListName]
_U16 = click.IntRange(0, 0xFFFF)
_LIST = click.argument("name", metavar="LIST", type=click.Choice(_NAMES))
_FILE = click.argument("file", type=path_type(exists=True))
_SIGNATURE = click.option(
    "--signature",
    type=path_type(exists=True),
    help=f"The owner's, made with `ssh-keygen -Y sign -n {NAMESPACE}`.",
)


@click.group
def command() -> None:
    """Who may launch enclaves on a platform that lasts.

    LIST is signing, launch, provisioning or dynamic.  docs/policy.md explains.
    """


command.add_command(test)
command.add_command(explain)


@command.command
@platform_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--toml", "as_toml", is_flag=True, help="Print a file to edit and apply.")
def show(*, directory: Path, as_json: bool, as_toml: bool) -> None:
    """Say what holds, who may change it, and what is locked."""
    platform = open_platform(directory)
    with _failures():
        rule = platform.policies().rule()
    if as_toml:
        following = replace(
            rule.policy, serial=rule.policy.serial + 1, platform=platform.identity
        )
        print(encode_policy(following).decode(), end="")
    elif as_json:
        print(json.dumps(policy_words(rule, platform.identity), indent=2))
    else:
        print("\n".join(policy_table(rule, platform.identity)))


@command.command
@_FILE
def check(*, file: Path) -> None:
    """Read a policy's file and say what is wrong with it."""
    with _failures(file):
        policy = decode_policy(file.read_bytes())
    print(f"{file}: a policy, serial {policy.serial}")


@command.command
@_FILE
@_SIGNATURE
@platform_option
def apply(*, file: Path, signature: Path | None, directory: Path) -> None:
    """Let the policy in FILE hold from now on, for programs that run too."""
    armored = signature.read_text(errors="replace") if signature else ""
    with _failures(file):
        policy = _policies(directory).apply(file.read_bytes(), armored, _me())
    print(f"{directory}: serial {policy.serial} holds")


@command.command(name="allow")
@_LIST
@click.argument("signer")
@click.option("--mrenclave", help="Only this enclave, 64 hex digits.")
@click.option("--isvprodid", type=_U16, help="Only this product.")
@click.option("--min-isvsvn", type=_U16, default=0, help="From this version on.")
@click.option("--no-debug", is_flag=True, help="No DEBUG enclaves.")
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day, in UTC."
)
@click.option("--comment", default="", help="For people, one line.")
@platform_option
def allow_signer(  # noqa: PLR0913 -- one for each option
    *,
    name: str,
    signer: str,
    mrenclave: str | None,
    isvprodid: int | None,
    min_isvsvn: int,
    no_debug: bool,
    expires: datetime | None,
    comment: str,
    directory: Path,
) -> None:
    """Add SIGNER, an MRSIGNER in hex or a file with a SIGSTRUCT, to a list."""
    if not comment.isprintable():
        raise click.BadParameter("a comment is one line", param_hint="--comment")
    entry = Entry(
        mrsigner=signer_of(signer),
        mrenclave=digest(mrenclave, "--mrenclave") if mrenclave else None,
        isvprodid=isvprodid,
        min_isvsvn=min_isvsvn,
        debug=not no_debug,
        expires=expires.date() if expires else None,
        comment=comment,
    )
    _change(directory, lambda policy: allow(policy, ListName(name), entry))


@command.command(name="remove")
@_LIST
@click.argument("signer")
@platform_option
def remove_signer(*, name: str, signer: str, directory: Path) -> None:
    """Take SIGNER, an MRSIGNER in hex or a file with a SIGSTRUCT, off a list."""
    mrsigner = signer_of(signer)
    _change(directory, lambda policy: remove(policy, ListName(name), mrsigner))


@command.command
@click.argument("names", metavar="[LIST]...", nargs=-1, type=click.Choice(_NAMES))
@platform_option
def lock(*, names: tuple[str, ...], directory: Path) -> None:
    """Lock lists, all of them unless named, until `softsgx platform reset`."""
    locks = frozenset(ListName(name) for name in names) or ALL_LISTS
    with _failures():
        _policies(directory).lock(locks, _me())
    print(f"{directory}: locked until reset: {', '.join(sorted(locks))}")


@command.command
@click.argument("key", type=path_type(exists=True))
@_SIGNATURE
@platform_option
def owner(*, key: Path, signature: Path | None, directory: Path) -> None:
    """Give the platform an owner: KEY is an OpenSSH public key (.pub).

    From then on every change of the policy needs that key's signature.
    """
    armored = signature.read_text(errors="replace") if signature else ""
    with _failures(key):
        public = SshKey.parse(key.read_text(errors="replace"))
        _policies(directory).own(public, armored, _me())
    print(f"{directory}: owned by {public.fingerprint}")


@command.command(name="import")
@_FILE
@click.option("--comment", default="", help="For people, in each entry.")
@platform_option
def import_list(*, file: Path, comment: str, directory: Path) -> None:
    """Add the signers of a white list: Intel's, or the reference launch enclave's."""
    with _failures(file):
        whitelist = read_whitelist(file.read_bytes())
    words = comment or f"{whitelist.kind}, version {whitelist.version}"

    def imported(policy: Policy) -> Policy:
        for one in whitelist.entries:
            entry = Entry(mrsigner=one.mrsigner, mrenclave=one.mrenclave, comment=words)
            policy = allow(policy, ListName.SIGNING, entry)
            if one.may_provision:
                policy = allow(policy, ListName.PROVISIONING, entry)
        return policy

    _change(directory, imported)


def _change(directory: Path, how: Callable[[Policy], Policy]) -> None:
    with _failures():
        policies = _policies(directory)
        policies.change(how, _me())
        rule = policies.rule()
    counts = ", ".join(f"{name} {len(rule.policy.lists[name])}" for name in ListName)
    print(f"{directory}: serial {rule.policy.serial} holds: {counts}")


def _policies(directory: Path) -> Policies:
    return open_platform(directory).policies()


def _me() -> Who:
    return Who.of(os.getpid())


@contextmanager
def _failures(file: Path | None = None) -> Iterator[None]:
    """Turn what can go wrong into one line, which begins with the file's name."""
    try:
        yield
    except (PolicyError, Refused, SshKeyError, SshSignatureError) as error:
        raise Failure(f"{file}: {error}" if file else str(error)) from error
    except (PlatformError, WhitelistError) as error:
        raise Failure(str(error)) from error
