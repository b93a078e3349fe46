"""The owner's policy of a platform: which holds, and how it may be changed.

`state.json` names the policy that holds; `policies/HASH.toml` has it, and
`policies/HASH.sig` the owner's signature.  A change writes those and renames the state:
killed anywhere, the old policy holds or the new one.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from softsgx.crypto.sshsig import SshKey, SshSignatureError
from softsgx.launch.change import Locks, Refused, check_change, opened
from softsgx.launch.policy import ListName, Policy
from softsgx.launch.text import MAX_SIZE, PolicyError, decode_policy, encode_policy
from softsgx.platform.audit import AuditLog, Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import open_lock, write_durably
from softsgx.platform.state import State, decode_state, encode_state

STATE_NAME = "state.json"
POLICIES_NAME = "policies"
LOCK_NAME = "lock"

_POLICIES_KEPT = 16
"""How many policies stay on disk; who reads the last but one has time to finish."""

NAMESPACE = "policy@softsgx"
"""What the owner's signatures are for: `ssh-keygen -Y sign -n policy@softsgx`."""


@dataclass(frozen=True)
class Rule:
    """The policy that holds, who owns it, and what of it is locked."""

    policy: Policy
    owner: SshKey | None = None
    locks: Locks = frozenset()


class Policies:
    """The policies of one platform in *directory*; *identity* is the platform's name.

    PlatformError says what cannot be read or written; Refused, what may not be done.
    """

    def __init__(self, directory: Path, identity: str, seed: bytes):
        self._directory, self._identity, self._seed = directory, identity, seed
        self._state_path = directory / STATE_NAME
        self._kept: tuple[object, Rule] | None = None
        self.log = AuditLog(directory, seed)

    def begin(self) -> None:
        """Write the state and the log of a new platform, which this process makes."""
        (self._directory / POLICIES_NAME).mkdir(mode=0o700)
        self._write(State())
        self.log.begin()
        self.log.append("new", Who.of(os.getpid()))

    def rule(self) -> Rule:
        """Return the rule that holds now; it is read again when it was changed."""
        version = self._version()
        while self._kept is None or self._kept[0] != version:
            try:
                self._kept = version, self._load(self._state())
            except PlatformError:
                # A policy goes some time after another one took its place.
                if self._version() == version:
                    raise
                version = self._version()
        return self._kept[1]

    def apply(self, raw: bytes, signature: str, who: Who) -> Policy:
        """Let a policy's file hold from now on; *signature*: the owner's, or empty."""
        with self._changing("policy-refused", who):
            state = self._state()
            old = self._load(state)
            new = decode_policy(raw)
            _check_owner(old.owner, raw, signature)
            if old.owner is not None and not new.platform:
                raise Refused(f"it names no platform; this one is {self._identity}")
            check_change(old.policy, new, old.locks, self._identity)
            self._hold(state, raw, signature, (old.policy, new), who)
            return new

    def change(self, how: Callable[[Policy], Policy], who: Who) -> Policy:
        """Change the policy that holds; Refused where an owner must sign for it."""
        with self._changing("policy-refused", who):
            state = self._state()
            old = self._load(state)
            new = how(old.policy)
            # A lock first: no signature would open it.
            check_change(old.policy, new, old.locks, self._identity)
            if old.owner is not None:
                raise Refused("the owner must sign for it: --toml prints what to sign")
            self._hold(state, encode_policy(new), "", (old.policy, new), who)
            return new

    def own(self, key: SshKey, signature: str, who: Who) -> None:
        """Give the platform an owner's key; a second one is signed by the first."""
        with self._changing("owner-refused", who):
            state = self._state()
            if state.locks:
                raise Refused("a list is locked, and the owner's key with it")
            _check_owner(state.owner, self._handover(state, key), signature)
            self.log.append("owner", who, key=key.fingerprint)
            self._write(replace(state, owner=key, owners=state.owners + 1))

    def handover(self, key: SshKey) -> bytes:
        """Return what the present owner signs to hand the platform over to a key."""
        return self._handover(self._state(), key)

    def _handover(self, state: State, key: SshKey) -> bytes:
        # Good for one platform, and once: else a key that came back could be sent off.
        text = f"platform {self._identity}: owner {state.owners + 1} is\n{key.line}\n"
        return text.encode()

    def lock(self, names: Locks, who: Who) -> None:
        """Lock lists until the platform is reset."""
        with self._changing("lock-refused", who):
            state = self._state()
            self.log.append("lock", who, lists=sorted(names))
            self._write(replace(state, locks=state.locks | names))

    def note_switch(self, *, on: bool) -> None:
        """Write down, before it happens, that this process turns the platform on."""
        self.log.append("enable" if on else "disable", Who.of(os.getpid()))

    def reset(self, who: Who) -> None:
        """Open the locks: the platform's reboot."""
        with self._changing("reset-refused", who):
            state = self._state()
            self.log.append("reset", who)
            self._write(replace(state, locks=frozenset()))

    def _hold(
        self,
        state: State,
        raw: bytes,
        signature: str,
        change: tuple[Policy, Policy],
        who: Who,
    ) -> None:
        new = change[1]
        if len(raw) > MAX_SIZE:
            raise Refused(f"{len(raw)} bytes; at most {MAX_SIZE} are read")
        digest = hashlib.sha256(raw).hexdigest()
        counts = {name: len(new.lists[name]) for name in ListName}
        self.log.append(
            "policy",
            who,
            serial=new.serial,
            digest=digest,
            mode=new.mode,
            **counts,
            reason="; ".join(opened(*change)),
        )
        directory = self._directory / POLICIES_NAME
        write_durably(directory / f"{digest}.sig", signature.encode(), 0o600)
        write_durably(directory / f"{digest}.toml", raw, 0o600)
        self._write(replace(state, digest=digest))
        _forget_oldest(directory, digest)

    def _write(self, state: State) -> None:
        write_durably(self._state_path, encode_state(state, self._seed), 0o600)

    def _version(self) -> object:
        try:
            stat = self._state_path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PlatformError(f"{self._state_path}: {error.strerror}") from error
        return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size

    def _state(self) -> State:
        path = self._state_path
        try:
            return decode_state(path.read_bytes(), self._seed)
        except FileNotFoundError as error:
            # Each platform is made with one: without it, no rule is known.
            raise PlatformError(f"{path}: missing, so nothing may launch") from error
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error
        except PlatformError as error:
            raise PlatformError(f"{path}: {error}") from error

    def _load(self, state: State) -> Rule:
        """Read the policy that holds."""
        if not state.digest:
            return Rule(Policy(), state.owner, state.locks)
        path = self._directory / POLICIES_NAME / f"{state.digest}.toml"
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error
        if hashlib.sha256(raw).hexdigest() != state.digest:
            raise PlatformError(f"{path}: changed by another hand than softsgx's")
        try:
            policy = decode_policy(raw)
        except PolicyError as error:
            raise PlatformError(f"{path}: {error}") from error
        return Rule(policy, state.owner, state.locks)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Let nothing of the policy change meanwhile."""
        fd = open_lock(self._directory / LOCK_NAME)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _changing(self, refused: str, who: Who) -> Iterator[None]:
        """Let one change at a time happen; one that may not is written down."""
        with self.unchanging():
            try:
                yield
            except (PolicyError, Refused, SshSignatureError) as refusal:
                self.log.append(refused, who, reason=str(refusal))
                raise
            except OSError as error:
                name = error.filename or self._directory
                raise PlatformError(f"{name}: {error.strerror}") from error


def _forget_oldest(directory: Path, digest: str) -> None:
    """Remove all but the policy that holds and some before it."""
    by_age = sorted(directory.glob("*.toml"), key=lambda path: path.stat().st_mtime_ns)
    for path in by_age[:-_POLICIES_KEPT]:
        if path.stem != digest:
            path.unlink()
            path.with_suffix(".sig").unlink(missing_ok=True)


def _check_owner(owner: SshKey | None, raw: bytes, signature: str) -> None:
    if owner is None:
        return
    if not signature:
        raise Refused(f"the platform's owner {owner.fingerprint} has not signed it")
    try:
        owner.check_signature(signature, NAMESPACE, raw)
    except SshSignatureError as error:
        raise SshSignatureError(f"signature: {error}") from error
