"""Requests and policies for the tests of the launch policy."""

from dataclasses import replace
from datetime import date

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from softsgx.launch.decide import decide
from softsgx.launch.decision import Decision
from softsgx.launch.entry import Entries, Entry
from softsgx.launch.policy import Edition, ListName, Policy
from softsgx.launch.request import Request

TODAY = date(2030, 6, 15)
MODE64, DEBUG = AttributeFlags.MODE64BIT, AttributeFlags.DEBUG
PROVISION, LAUNCH = AttributeFlags.PROVISIONKEY, AttributeFlags.EINITTOKENKEY


def modulus(name: str) -> bytes:
    return name.encode().ljust(384, b"\1")


def signer(name: str) -> bytes:
    return sha256(modulus(name))


def token(**fields: object) -> Einittoken:
    blank = Einittoken.from_bytes(bytes(Einittoken.SIZE))
    return replace(blank, valid=1, **fields)  # type: ignore[arg-type]


def ask(
    name: str = "alice",
    attributes: AttributeFlags = MODE64,
    *,
    fd: bool = False,
    token: Einittoken | None = None,
    today: date = TODAY,
    locked: bool = False,
    **fields: object,
) -> Request:
    blank = Sigstruct.from_bytes(bytes(Sigstruct.SIZE))
    sigstruct = replace(blank, modulus=modulus(name), **fields)  # type: ignore[arg-type]
    return Request.of(
        sigstruct,
        attributes,
        today,
        has_provision_fd=fd,
        token=token,
        is_locked=locked,
    )


def lists(edition: Edition = Edition.SOFTSGX, **names: str) -> Policy:
    """A policy whose lists have these signers: lists(signing="alice bob")."""
    filled = {
        name: Entries(
            tuple(Entry(mrsigner=signer(one)) for one in names.get(name, "").split())
        )
        for name in ListName
    }
    return Policy(edition=edition, lists=filled)


def entry(name: str = "alice", **narrowed: object) -> Entry:
    return Entry(mrsigner=signer(name), **narrowed)  # type: ignore[arg-type]


def signing(*entries: Entry) -> Policy:
    return Policy(lists={**Policy().lists, ListName.SIGNING: Entries(entries)})


def outcome(decision: Decision) -> str:
    """What Linux would say: own, token, EACCES, EPERM."""
    if decision.refusal is not None:
        return {"attribute": "EACCES", "signer": "EPERM"}[decision.refusal]
    return "own" if decision.launchkeys == (signer("alice"),) else "token"


def decided(policy: Policy, request: Request) -> str:
    return outcome(decide(policy, request))


MASKED = Attributes(flags=DEBUG, xfrm=0)
