"""The owner's policy, PROVISIONKEY and keys in guests that a daemon serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.run import run
from tests.conformance_sgx.build import BUILT
from tests.conformance_sgx.guests import (
    KEYS,
    SIG,
    guest,
    keys,
    logged,
    new_platform,
    on,
    started,
    under,
    within,
)
from tests.service.serving import Served, daemon

pytestmark = [pytest.mark.runner, pytest.mark.slow]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    place = new_platform(tmp_path / "p", "--epc", "32M")
    started(place, "before", "--keys", "separate")
    with daemon(place) as one:
        yield one


@pytest.fixture
def place(served: Served) -> Path:
    return served.directory


def test_the_hosts_lists_hold_and_the_log_names_guest_and_run(place: Path) -> None:
    started(place, "one")
    started(place, "plain", "--launch", "guest")
    on(place, "policy", "allow", "signing", "ab" * 32)
    assert within(place, KEYS.binary(), name="").code != 0
    refused = within(place, KEYS.binary())
    assert refused.code != 0
    assert "Operation not permitted" in refused.stderr
    (said,) = (one for one in refused.stderr.splitlines() if one.startswith("softsgx"))
    assert said.startswith("softsgx: guest one: an enclave of signer ")
    assert said.endswith("the signer is not listed")
    assert within(place, KEYS.binary(), name="plain").code == 0
    on(place, "policy", "allow", "signing", SIG)
    script = f"echo $PPID; {KEYS.binary()}"
    allowed = run(under(place, "--", "sh", "-c", script), BUILT)
    assert allowed.code == 0, allowed.stderr
    inits = logged(place, "--guest", "one", "--event", "init")
    assert [(one["verdict"], one["rule"]) for one in inits] == [
        ("deny", "signing"),
        ("allow", "signing[1]"),
    ]
    assert inits[1]["pid"] == int(allowed.stdout.splitlines()[0])
    assert logged(place, "--guest", "plain", "--event", "init") == []


def test_provisionkey_is_for_guests_that_had_leave_when_they_began(
    place: Path,
) -> None:
    started(place, "one", "--provisioning")
    refused = within(place, KEYS.binary(), "provision")
    assert "SGX_IOC_ENCLAVE_CREATE: Input/output error" in refused.stderr
    on(place, "policy", "guest", "one", "--provisioning", "yes")
    assert within(place, KEYS.binary(), "provision").code != 0
    for leave in ("yes", "no"):
        on(place, "policy", "guest", "one", "--provisioning", leave)
        guest(place, "stop", "one")
        guest(place, "start", "one")
        done = within(place, KEYS.binary(), "provision")
        assert (done.code == 0) == (leave == "yes")
    assert keys(place, "provision", name="")["provision"]


def test_keys_are_a_guests_own_or_the_platforms(served: Served) -> None:
    place = served.directory
    started(place, "one")
    started(place, "other", "--keys", "separate")
    names = ("", "one", "before", "other")
    seals = {name: keys(place, name=name)["seal"] for name in names}
    assert seals["one"] == seals[""]
    assert len({seals[name] for name in ("", "before", "other")}) == 3
    served.kill()
    assert {name: keys(place, name=name)["seal"] for name in names} == seals
