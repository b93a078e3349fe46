"""softsgx policy: who may launch enclaves on a platform."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import path_type, platform_option, read_limited
from softsgx.cli.signer import digest, signer_of
from softsgx.cli.verdicts import explain, test
from softsgx.cli.words import policy_table, policy_words
from softsgx.crypto.sshsig import SshKey, SshKeyError, SshSignatureError
from softsgx.formats.whitelist import WhitelistError, read_whitelist
from softsgx.launch.change import (
    ALL_LISTS,
    Refused,
    allow,
    extend,
    give_leave,
    opened,
    remove,
)
from softsgx.launch.entry import Entry
from softsgx.launch.guests import GUEST_NAME, GuestRules, WhoseLists
from softsgx.launch.policy import ListName, Policy
from softsgx.launch.text import PolicyError, decode_policy, encode_policy
from softsgx.platform.audit import Who
from softsgx.platform.platform import Platform
from softsgx.platform.policies import NAMESPACE

_SAID = (PolicyError, Refused, SshKeyError, SshSignatureError, WhitelistError)
_NAMES = [str(name) for name in ListName]
_U16 = click.IntRange(0, 0xFFFF)
_LIST = click.argument("name", metavar="LIST", type=click.Choice(_NAMES))
_FILE = click.argument("file", type=path_type(exists=True))
_SIGNATURE = click.option(
    "--signature",
    type=path_type(exists=True),
    help=f"The owner's, made with `ssh-keygen -Y sign -n {NAMESPACE}`.",
)
_TOML = click.option(
    "--toml",
    "as_toml",
    is_flag=True,
    help="Change nothing: print the policy's file, to sign and apply.",
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
    platform = Platform.open(directory)
    rule = platform.policies().rule()
    if as_toml:
        following = replace(rule.policy, serial=rule.policy.serial + 1)
        _print_file(platform, following)
    elif as_json:
        print(json.dumps(policy_words(rule, platform.identity), indent=2))
    else:
        today = datetime.now(UTC).date()
        print("\n".join(policy_table(rule, platform.identity, today)))


@command.command
@_FILE
def check(*, file: Path) -> None:
    """Read a policy's file and say what is wrong with it."""
    with _failures(file):
        policy = decode_policy(read_limited(file))
    print(f"{file}: a policy, serial {policy.serial}: {_counts(policy)}")


@command.command
@_FILE
@_SIGNATURE
@platform_option
def apply(*, file: Path, signature: Path | None, directory: Path) -> None:
    """Let the policy in FILE hold from now on.

    It holds for programs that run already, too.
    """
    policies = Platform.open(directory).policies()
    old = policies.rule().policy
    with _failures(file):
        new = policies.apply(read_limited(file), _text(signature), _me())
    _say_what_holds(directory, old, new)


@command.command(name="allow")
@_LIST
@click.argument("signer")
@click.option("--mrenclave", help="Only this enclave, 64 hex digits.")
@click.option("--isvprodid", type=_U16, help="Only this product.")
@click.option("--min-isvsvn", type=_U16, default=0, help="From this version on.")
@click.option("--no-debug", is_flag=True, help="No DEBUG enclaves.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The last day, in UTC.",
)
@click.option("--comment", default="", help="For people, one line.")
@_TOML
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
    as_toml: bool,
    directory: Path,
) -> None:
    """Add a signer to a list.

    SIGNER is an MRSIGNER in hex, or a file with a SIGSTRUCT.
    """
    _check_comment(comment)
    entry = Entry(
        mrsigner=signer_of(signer),
        mrenclave=digest(mrenclave, "--mrenclave") if mrenclave else None,
        isvprodid=isvprodid,
        min_isvsvn=min_isvsvn,
        debug=not no_debug,
        expires=expires.date() if expires else None,
        comment=comment,
    )
    _change(directory, lambda old: allow(old, ListName(name), entry), as_toml=as_toml)


@command.command(name="remove")
@_LIST
@click.argument("signer")
@_TOML
@platform_option
def remove_signer(*, name: str, signer: str, as_toml: bool, directory: Path) -> None:
    """Take a signer off a list.

    SIGNER is an MRSIGNER in hex, or a file with a SIGSTRUCT.
    """
    mrsigner = signer_of(signer)
    _change(
        directory,
        lambda old: remove(old, ListName(name), mrsigner),
        as_toml=as_toml,
    )


@command.command
@click.argument("names", metavar="[LIST]...", nargs=-1, type=click.Choice(_NAMES))
@platform_option
def lock(*, names: tuple[str, ...], directory: Path) -> None:
    """Lock lists, or all of them, until `softsgx platform reset`."""
    locks = frozenset(ListName(name) for name in names) or ALL_LISTS
    Platform.open(directory).policies().lock(locks, _me())
    print(f"{directory}: locked until reset: {', '.join(sorted(locks))}")


@command.command
@click.argument("key", type=path_type(exists=True))
@_SIGNATURE
@click.option("--to-sign", is_flag=True, help="Print what the present owner signs.")
@platform_option
def owner(*, key: Path, signature: Path | None, to_sign: bool, directory: Path) -> None:
    """Give the platform an owner: KEY is an OpenSSH public key (.pub).

    From then on every change of the policy needs that key's signature, and so does an
    owner after it.
    """
    policies = Platform.open(directory).policies()
    with _failures(key):
        public = SshKey.parse(_text(key))
        if to_sign:
            print(policies.handover(public).decode(), end="")
            return
        policies.own(public, _text(signature), _me())
    print(f"{directory}: owned by {public.fingerprint}")


@command.command(name="import")
@_FILE
@click.option("--comment", default="", help="For people, in each entry.")
@click.option(
    "--signature",
    type=path_type(exists=True),
    help="The reference list's, 384 bytes; Intel's list has its own inside.",
)
@_TOML
@platform_option
def import_list(
    *,
    file: Path,
    comment: str,
    signature: Path | None,
    as_toml: bool,
    directory: Path,
) -> None:
    """Add the signers of a white list.

    FILE is Intel's, or the reference launch enclave's; signers that are in the list
    already are not added again.
    """
    _check_comment(comment)
    with _failures(file):
        signed = read_limited(signature) if signature else b""
        whitelist = read_whitelist(read_limited(file), signed)
    words = comment or f"{whitelist.kind}, version {whitelist.version}"

    def entries(*, provisioning: bool) -> list[Entry]:
        return [
            Entry(mrsigner=one.mrsigner, mrenclave=one.mrenclave, comment=words)
            for one in whitelist.entries
            if one.may_provision or not provisioning
        ]

    more = {
        ListName.SIGNING: entries(provisioning=False),
        ListName.PROVISIONING: entries(provisioning=True),
    }
    _change(directory, lambda old: extend(old, more), as_toml=as_toml)
    click.echo(f"softsgx: {file}: {whitelist.checked}", err=True)


@command.command(name="guest")
@click.argument("name")
@click.option(
    "--provisioning",
    type=click.Choice(["yes", "no"]),
    help="Whether its enclaves may have PROVISIONKEY.",
)
@click.option(
    "--launch",
    type=click.Choice([str(one) for one in WhoseLists]),
    help="`guest`: the lists may be kept out of it.",
)
@click.option(
    "--oversubscribe",
    type=click.Choice(["yes", "no"]),
    help="Whether it may have more EPC than there is left for it.",
)
@_TOML
@platform_option
def give_guest(
    *,
    name: str,
    provisioning: str | None,
    launch: str | None,
    oversubscribe: str | None,
    as_toml: bool,
    directory: Path,
) -> None:
    """Set what guest NAME has leave for; the rest stays as it is."""
    if not GUEST_NAME.fullmatch(name):
        raise Failure(f"{name!r} is no name of a guest")

    def how(old: Policy) -> Policy:
        rules = old.guest(name)
        given = GuestRules(
            provisioning=_answer(provisioning, rules.provisioning),
            launch=WhoseLists(launch or rules.launch),
            oversubscribe=_answer(oversubscribe, rules.oversubscribe),
        )
        return give_leave(old, name, given)

    _change(directory, how, as_toml=as_toml)


def _answer(word: str | None, before: bool) -> bool:  # noqa: FBT001 -- two answers
    return before if word is None else word == "yes"


def _change(directory: Path, how: Callable[[Policy], Policy], *, as_toml: bool) -> None:
    """Change the policy that holds, or print what would hold, to sign and apply."""
    platform = Platform.open(directory)
    policies = platform.policies()
    old = policies.rule().policy
    with _failures():
        if as_toml:
            _print_file(platform, how(old))
            return
        new = policies.change(how, _me())
    _say_what_holds(directory, old, new)


def _print_file(platform: Platform, policy: Policy) -> None:
    named = replace(policy, platform=platform.identity)
    print(encode_policy(named).decode(), end="")


def _say_what_holds(directory: Path, old: Policy, new: Policy) -> None:
    print(f"{directory}: serial {new.serial} holds: {_counts(new)}")
    for words in opened(old, new):
        click.echo(f"softsgx: warning: {words}", err=True)


def _counts(policy: Policy) -> str:
    return ", ".join(f"{name} {len(policy.lists[name])}" for name in ListName)


def _check_comment(comment: str) -> None:
    if not comment.isprintable():
        raise click.BadParameter("a comment is one line", param_hint="--comment")


def _text(path: Path | None) -> str:
    return read_limited(path).decode(errors="replace") if path else ""


def _me() -> Who:
    return Who.of(os.getpid())


@contextmanager
def _failures(file: Path | None = None) -> Iterator[None]:
    """Turn what can go wrong into one line, which begins with the file's name."""
    try:
        yield
    except _SAID as error:
        raise Failure(f"{file}: {error}" if file else str(error)) from error
