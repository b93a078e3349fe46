"""The host's lists for enclaves in a guest: who asks is a virtual machine."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from softsgx.arch.errors import SgxError
from softsgx.launch.decide import decide
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.request import Request
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from softsgx.runner.gate import said_of
from softsgx.virt.einit import Launch

_CODES = {
    Refusal.SIGNER: SgxError.INVALID_EINITTOKEN,
    Refusal.ATTRIBUTE: SgxError.INVALID_ATTRIBUTE,
}
"""What EINIT says: what a processor says whose launch key is another one's."""


class HostsJudge:
    """Decides by the platform's policy about enclaves in the guest *name*.

    *provisioning*: the guest was allowed it, as a descriptor would on the host.
    *monitor*: the process to write down; a host does not see further.
    """

    def __init__(
        self,
        platform: Platform,
        name: str,
        complain: Callable[[str], None],
        monitor: Callable[[], int],
        *,
        provisioning: bool,
    ):
        self._policies = platform.policies()
        self._is_locked = not platform.model.flc
        self._name, self._complain = name, complain
        self._provisioning, self._monitor = provisioning, monitor

    def judge(self, launch: Launch) -> SgxError | None:
        """Decide, and write it down; the guest's software hears an error code."""
        request = self._request(launch)
        try:
            decision = decide(self._policies.rule().policy, request)
            decision = _honouring(decision, launch)
            self._write("init", request, decision)
        except PlatformError as error:
            decision = Decision(
                rule="policy", reason=str(error), refusal=Refusal.SIGNER
            )
        if decision.refusal is None:
            return None
        self._say(request, f"is refused: {decision.reason}")
        return _CODES[decision.refusal]

    def failed(self, launch: Launch, code: SgxError) -> None:
        """Write down that EINIT refused an enclave that the lists let pass."""
        request = self._request(launch)
        decision = Decision(
            rule="EINIT", reason=f"SGX_{code.name}", refusal=Refusal.SIGNER
        )
        try:
            self._write("einit", request, decision)
        except PlatformError as error:
            self._complain(str(error))

    def _request(self, launch: Launch) -> Request:
        return Request.of(
            launch.sigstruct,
            launch.attributes,
            datetime.now(UTC).date(),
            has_provision_fd=self._provisioning,
            token=launch.token,
            is_locked=self._is_locked,
        )

    def _write(self, event: str, request: Request, decision: Decision) -> None:
        who, words = Who.of(self._monitor()), said_of(request, decision)
        self._policies.log.append(event, who, guest=self._name, **words)

    def _say(self, request: Request, what: str) -> None:
        signer = request.mrsigner.hex()
        self._complain(f"guest {self._name}: an enclave of signer {signer} {what}")


def _honouring(decision: Decision, launch: Launch) -> Decision:
    """Refuse a token of a launch enclave that the guest honours and no list has."""
    if not decision.takes_token or not decision.launchkeys or decision.is_waived:
        return decision
    if launch.launchkey in decision.launchkeys:
        return decision
    why = "the guest's launch key is that of no listed launch enclave"
    return replace(decision, reason=why, refusal=Refusal.SIGNER, granted=0)
