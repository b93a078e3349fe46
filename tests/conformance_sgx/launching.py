"""examples/launch at work: its builds, its platforms, and tokens of all kinds."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from softsgx.arch.einittoken import VALID, Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from tests.conformance import here
from tests.conformance.here import softsgx
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, enclave
from tests.house.tree import ROOT

LAUNCH = ROOT / "examples" / "launch"
SIG, ELF = BUILT / "enclave" / "3.sig", BUILT / "enclave" / "3.elf"
PROVIDER = b"\xcd" * 384
"""The modulus of a signer who may have PROVISIONKEY; nobody has its key."""


@dataclass(frozen=True)
class Launcher:
    """One build of examples/launch, on one platform."""

    folder: Path
    platform: Path
    locked: bool = False

    def ask(self, *words: str | Path, options: tuple[str, ...] = ()) -> Outcome:
        """Run its host with these words."""
        under = [SOFTSGX, "run", "--platform", str(self.platform), *options, "--"]
        return run([*under, *map(str, (self.folder / "launch", *words))], self.folder)

    def get(self, *words: str | Path, options: tuple[str, ...] = ()) -> Einittoken:
        """Get a token; it goes through a file, for it is no text."""
        under = [SOFTSGX, "run", "--platform", str(self.platform), *options, "--"]
        command = [*under, *map(str, (self.folder / "launch", "get", *words))]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout) == Einittoken.SIZE
        return Einittoken.from_bytes(done.stdout)

    def start(self, token: bytes, options: tuple[str, ...] = ()) -> Outcome:
        """Launch the ordinary enclave with a token; empty for none."""
        file = self.folder / f"{os.getpid()}.token"
        file.write_bytes(token)
        return self.ask("start", ELF, SIG, *([file] if token else []), options=options)


def signer() -> str:
    """The ordinary enclave's MRSIGNER."""
    return sha256(Sigstruct.from_bytes(SIG.read_bytes()).modulus).hex()


def built(folder: Path, *settings: str) -> Path:
    """Build examples/launch with the ordinary enclave's signer in its list."""
    enclave("3")
    signers = folder.with_suffix(".txt")
    own = sha256(Sigstruct.from_bytes(SIG.read_bytes()).modulus).hex()
    signers.write_text(
        f"# two\n{own}\n\n{sha256(PROVIDER).hex()} provision # and more\n"
    )
    make = ["make", "-C", str(LAUNCH), f"OUT={folder}", f"SIGNERS={signers}"]
    done = run([*make, f"SOFTSGX={SOFTSGX}", *settings], ROOT)
    assert done.code == 0, done.stderr
    return folder


def new_platform(place: Path, launch_enclave: Path, *, locked: bool = False) -> Path:
    """Make one where the launch enclave counts: by the list, or by its key."""
    sig = launch_enclave / "enclave.sig"
    cpu = ("--cpu", "skylake-client", "--launch-key", sig) if locked else ()
    here.new_platform(place, *cpu)
    if not locked:
        softsgx("policy", "allow", "launch", sig, "--platform", place)
    return place


def wrong_mac(ours: Launcher) -> Einittoken:
    token = ours.get(SIG)
    return replace(token, mac=bytes([token.mac[0] ^ 1]) + token.mac[1:])


def other_enclave_written_over(ours: Launcher) -> Einittoken:
    token = ours.get(edited(ours, mrenclave=bytes(32)))
    return replace(token, mrenclave=ours.get(SIG).mrenclave)


def another_enclaves(ours: Launcher) -> Einittoken:
    return ours.get(edited(ours, mrenclave=bytes(32)))


def another_signers(ours: Launcher) -> Einittoken:
    return ours.get(edited(ours, modulus=PROVIDER))


def other_attributes(ours: Launcher) -> Einittoken:
    return ours.get(SIG, hex(AttributeFlags.MODE64BIT | AttributeFlags.DEBUG), "3")


def other_xfrm(ours: Launcher) -> Einittoken:
    return ours.get(SIG, hex(AttributeFlags.MODE64BIT), "7")


def cpusvn_beyond(ours: Launcher) -> Einittoken:
    return replace(ours.get(SIG), cpusvnle=b"\xff" * 16)


def reserved_bit(ours: Launcher) -> Einittoken:
    return replace(ours.get(SIG), valid=VALID | 2)


def from_another_platform(ours: Launcher) -> Einittoken:
    place = ours.folder / "another-platform"
    return replace(
        ours, platform=new_platform(place, ours.folder, locked=ours.locked)
    ).get(SIG)


def of_a_debug_launch_enclave(ours: Launcher) -> Einittoken:
    folder = ours.folder / "debug"
    settings = ("SIGNFLAGS=--debug", f"KEY={ours.folder / 'key.pem'}")
    return replace(ours, folder=built(folder, *settings)).get(SIG)


def edited(ours: Launcher, *, mrenclave: bytes = b"", modulus: bytes = b"") -> Path:
    """Write the ordinary enclave's SIGSTRUCT with other identities: asking is free."""
    file = ours.folder / f"{os.getpid()}.sig"
    own = Sigstruct.from_bytes(SIG.read_bytes())
    other = replace(
        own,
        enclavehash=mrenclave or own.enclavehash,
        modulus=modulus or own.modulus,
    )
    file.write_bytes(bytes(other))
    return file


Maker = Callable[[Launcher], Einittoken]
WRONG: list[tuple[Maker, SgxError]] = [
    (wrong_mac, SgxError.INVALID_EINITTOKEN),
    (other_enclave_written_over, SgxError.INVALID_EINITTOKEN),
    (reserved_bit, SgxError.INVALID_EINITTOKEN),
    (from_another_platform, SgxError.INVALID_EINITTOKEN),
    (of_a_debug_launch_enclave, SgxError.INVALID_EINITTOKEN),
    (another_enclaves, SgxError.INVALID_MEASUREMENT),
    (another_signers, SgxError.INVALID_MEASUREMENT),
    (other_attributes, SgxError.INVALID_ATTRIBUTE),
    (other_xfrm, SgxError.INVALID_ATTRIBUTE),
    (cpusvn_beyond, SgxError.INVALID_CPUSVN),
]
"""Tokens that EINIT refuses, and what it says."""
