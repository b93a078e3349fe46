"""Programs whose platform loses its power under them, and comes back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.here import softsgx
from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import Program
from tests.service.serving import Served, daemon, new_platform
from tests.service.talking import POWER_LOSS as PROGRAM
from tests.service.talking import talking

pytestmark = [pytest.mark.runner, pytest.mark.slow]
LOST = "the daemon ended, or the platform was reset: an enclave is lost"


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    return new_platform(tmp_path / "p", "--epc", "8M")


@pytest.mark.parametrize("options", [(), ("--exact",)])
@pytest.mark.parametrize("end", [Served.kill, Served.end])
def test_enclaves_are_gone_with_the_daemon_and_new_ones_work_with_the_next(
    platform: Path, options: tuple[str, ...], end: Callable[[Served], object]
) -> None:
    with daemon(platform) as first:
        command = first.command(PROGRAM.binary(), options=options)
        with talking(command) as talk:
            talk.hear("inside")
            end(first)
            talk.answer()
            talk.hear("lost")
            with daemon(platform) as second:
                talk.answer()
                talk.hear("inside")
                end(second)
                talk.answer()
                talk.hear("lost")
                with daemon(platform):
                    talk.answer()
                    talk.hear("done")
                    said = talk.end().splitlines()
    assert said == [f"softsgx: {platform}: {LOST}"] * 2


def reset(platform: Path, *options: str) -> str:
    return softsgx("platform", "reset", platform, *options, is_silent=True)


@pytest.mark.parametrize("options", [(), ("--exact",)])
def test_a_reset_ends_all_enclaves_and_a_kexec_leaves_a_dirty_epc(
    platform: Path, options: tuple[str, ...]
) -> None:
    with daemon(platform) as served:
        command = served.command(PROGRAM.binary(), options=options)
        with talking(command) as talk:
            talk.hear("inside")
            assert reset(platform).endswith(", reset\n")
            talk.answer()
            talk.hear("lost")
            talk.answer()
            talk.hear("inside")
            words = reset(platform, "--kexec").split("; ")[1].split()
            assert int(words[0]) > 200
            assert " ".join(words[1:]) == "EPC pages were in use and are sanitized"
            talk.answer()
            talk.hear("lost")
            talk.answer()
            talk.hear("done")
            talk.end()
        assert "; 0 EPC pages" in reset(platform, "--kexec")


def test_a_reset_opens_locks_and_a_kexec_does_not(platform: Path) -> None:
    def locked() -> bool:
        return "locked" in softsgx("policy", "show", "--platform", platform)

    with daemon(platform):
        softsgx("policy", "lock", "launch", "--platform", platform)
        assert locked()
        reset(platform, "--kexec")
        assert locked()
        reset(platform)
        assert not locked()


def test_without_a_daemon_there_is_nothing_to_kexec(platform: Path) -> None:
    command = [SOFTSGX, "platform", "reset", "--kexec", str(platform)]
    done = run(command, platform)
    assert done.code == 1
    said = f"softsgx: {platform}: no daemon serves this platform; `softsgx daemon` does"
    assert done.stderr == f"{said}\n"


def test_a_call_that_a_killed_daemon_had_ends(platform: Path) -> None:
    program = Program("call_lost", "dynamic", PROGRAM.folder)
    with daemon(platform) as served, talking(served.command(program.binary())) as talk:
        if not talk.hears("waits"):
            pytest.skip("userfaultfd is not for this user")
        served.kill()
        talk.answer()
        talk.hear("done")
        talk.end()
