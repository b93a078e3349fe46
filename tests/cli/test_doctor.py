import errno
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from softsgx.cli import doctor
from softsgx.cli.findings import Finding, State, findings, is_usable, plan
from softsgx.native.probe import KILLED, Attempt, Extended, Facts, probe

WORKS = Attempt(0)
REFUSED = Attempt(errno.EPERM)

GOOD = Facts(
    kernel="6.6.1-amd64",
    machine="x86_64",
    cpu="a processor",
    cpus=2,
    cpu_flags=frozenset({"fsgsbase"}),
    ptrace=WORKS,
    yama=None,
    extended=Extended(xcr0=0xE7, size=2432),
    seccomp_filter=WORKS,
    seccomp_listener=WORKS,
    sync_wake_up=WORKS,
    wait_killable=WORKS,
    cpuid_faulting=WORKS,
    fsgsbase=True,
    process_vm=WORKS,
    pidfd_getfd=WORKS,
    memfd_exec=WORKS,
    max_map_count=1 << 20,
    mmap_min_addr=0,
    nofile_soft=4096,
    nofile_hard=4096,
    device=None,
    device_openable=False,
    unbuilt=(),
)


def finding(facts: Facts, name: str) -> Finding:
    (found,) = (one for one in findings(facts) if one.id == name)
    return found


def test_a_good_machine_has_nothing_to_complain_of() -> None:
    found = findings(GOOD)
    assert is_usable(found)
    assert {one.state for one in found} == {State.OK}
    assert not any(one.remedy for one in found)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, unbuilt=("agent.bin",)), "native"),
        (replace(GOOD, kernel="5.10.0-9-amd64"), "kernel"),
        (replace(GOOD, machine="aarch64"), "kernel"),
        (replace(GOOD, ptrace=REFUSED), "ptrace"),
        (replace(GOOD, seccomp_filter=REFUSED), "seccomp"),
        (replace(GOOD, seccomp_listener=Attempt(errno.EBUSY)), "listener"),
        (replace(GOOD, memfd_exec=REFUSED), "enclave-memory"),
        (replace(GOOD, process_vm=REFUSED), "process-memory"),
    ],
)
def test_what_is_needed_and_missing_is_said_with_a_remedy(
    facts: Facts, name: str
) -> None:
    assert not is_usable(findings(facts))
    found = finding(facts, name)
    assert found.state is State.MISSING
    assert found.remedy


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, sync_wake_up=Attempt(errno.EINVAL)), "sync-wake-up"),
        (replace(GOOD, wait_killable=Attempt(errno.EINVAL)), "wait-killable"),
        (replace(GOOD, fsgsbase=False), "fsgsbase"),
        (replace(GOOD, max_map_count=65530), "maps"),
        (replace(GOOD, nofile_soft=256), "files"),
        (replace(GOOD, mmap_min_addr=65536), "low-memory"),
    ],
)
def test_what_is_only_slower_or_smaller_stops_nobody(facts: Facts, name: str) -> None:
    assert is_usable(findings(facts))
    found = finding(facts, name)
    assert found.state is State.LIMITED
    assert found.remedy


def test_the_remedy_names_who_holds_the_listener() -> None:
    busy = replace(GOOD, seccomp_listener=Attempt(errno.EBUSY))
    killed = replace(GOOD, seccomp_listener=Attempt(KILLED))
    assert "softsgx above" in finding(busy, "listener").remedy
    assert "filter above" in finding(killed, "listener").remedy


def test_cpuid_is_rewritten_where_it_cannot_fault() -> None:
    facts = replace(GOOD, cpuid_faulting=Attempt(errno.ENODEV))
    assert plan(facts)["cpuid"] == "rewriting"
    assert "ENODEV" in finding(facts, "cpuid").text
    assert plan(GOOD)["cpuid"] == "faulting"


def test_state_is_named_by_its_components() -> None:
    assert finding(GOOD, "xsave").text.startswith("x87 and SSE, AVX, AVX-512; ")


def test_this_machine_can_be_probed() -> None:
    facts = probe()
    assert facts.machine
    assert facts.nofile_soft > 0


def test_doctor_prints_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: GOOD)
    result = CliRunner().invoke(doctor.command, ["--json"], standalone_mode=False)
    shown = json.loads(result.output)
    assert result.return_value == 0
    assert shown["usable"] is True
    assert shown["machine"]["xcr0"] == 0xE7
    assert shown["machine"]["ptrace"] == "works"
    assert {"id", "state", "text", "remedy"} == set(shown["findings"][0])


def test_doctor_fails_where_run_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda: replace(GOOD, ptrace=REFUSED))
    result = CliRunner().invoke(doctor.command, [], standalone_mode=False)
    assert result.return_value == 1
    assert "MISSING  ptrace" in result.output
    assert "CANNOT work" in result.output
