"""softsgx doctor: what this machine offers, and what that means."""

import json
from dataclasses import asdict

import click

from softsgx.cli.failure import FAILED
from softsgx.cli.findings import Finding, State, findings, is_usable, plan
from softsgx.native.probe import Attempt, Facts, probe

_MARKS = {State.OK: "ok     ", State.LIMITED: "limited", State.MISSING: "MISSING"}


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> int:
    """Say what this machine offers and lacks, and how to get it.

    Everything is really tried.  Exits 1 when `softsgx run` cannot work here.
    """
    facts = probe()
    found = findings(facts)
    if as_json:
        print(json.dumps(_as_json(facts, found), indent=2))
    else:
        _show(facts, found)
    return 0 if is_usable(found) else FAILED


def _as_json(facts: Facts, found: list[Finding]) -> dict[str, object]:
    return {
        "usable": is_usable(found),
        "machine": machine(facts),
        "plan": plan(facts),
        "findings": [asdict(finding) for finding in found],
    }


def machine(facts: Facts) -> dict[str, object]:
    """Return the facts as JSON can hold them; an attempt is "works" or its errno."""
    shown: dict[str, object] = {}
    for name in Facts.__dataclass_fields__:
        value = getattr(facts, name)
        if isinstance(value, Attempt):
            shown[name] = str(value)
        elif isinstance(value, frozenset):
            shown[name] = sorted(value)
        elif value is facts.extended:
            shown |= {"xcr0": value.xcr0, "xsave_size": value.size}
        else:
            shown[name] = value
    return shown


def _show(facts: Facts, found: list[Finding]) -> None:
    print(f"{facts.cpu}, {facts.cpus} processors\n")
    for finding in found:
        print(f"{_MARKS[finding.state]}  {finding.id:15} {finding.text}")
        if finding.remedy:
            print(f"{'':9}{'':15} -> {finding.remedy}")
    print("\nsoftsgx run will use")
    for part, way in plan(facts).items():
        print(f"  {part:15} {way}")
    verdict = "works" if is_usable(found) else "CANNOT work"
    print(f"\nsoftsgx run {verdict} on this machine.")
