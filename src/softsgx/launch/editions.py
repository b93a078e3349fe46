"""The decision tables of two patches as they were posted, for study.

v29: 20200426170349.GB11046@wind.enjellic.com.
v41: 20201121151259.GA3948@wind.enjellic.com.
Their crashes are not reproduced.  A list there holds signers and nothing else, so
entries that are narrower do not count.
"""

from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.entry import Entries
from softsgx.launch.policy import ListName, Policy
from softsgx.launch.request import LAUNCH, PROVISION, Request


def decide_v29(policy: Policy, request: Request) -> Decision:
    """Decide as the patch of April 2020: its signing list alone denies nobody."""
    posted = _Posted(policy, request, is_dynamic=True)
    if posted.has(policy.signing):
        return posted.own(ListName.SIGNING)
    if posted.wants_launch and policy.launch:
        return posted.launch_enclave()
    if policy.launch:
        return posted.by_token()
    return posted.own("default")


def decide_v41(policy: Policy, request: Request) -> Decision:
    """Decide as the patch of November 2020: without a list, nothing is dynamic."""
    is_dynamic = _has(policy.dynamic, request)
    posted = _Posted(policy, request, is_dynamic=is_dynamic)
    if not policy.signing and not policy.launch:
        return posted.own("default")
    if posted.has(policy.signing):
        return posted.own(ListName.SIGNING)
    if not policy.launch:
        return posted.no_signer(ListName.SIGNING)
    if posted.wants_launch:
        return posted.launch_enclave()
    return posted.by_token()


def _has(entries: Entries, request: Request) -> bool:
    return any(not entry.is_narrow for entry in entries.of_signer(request.mrsigner))


class _Posted:
    """One decision under way; each method is a way in which the posted code ends."""

    def __init__(self, policy: Policy, request: Request, *, is_dynamic: bool):
        self._policy, self._request = policy, request
        self._is_dynamic = is_dynamic
        may_provision = self.has(policy.provisioning) or request.has_provision_fd
        self._granted = PROVISION if may_provision else 0

    @property
    def wants_launch(self) -> bool:
        """Say whether it would be a launch enclave."""
        return bool(self._request.wants & LAUNCH)

    def has(self, entries: Entries) -> bool:
        """Say whether a list has the signer."""
        return _has(entries, self._request)

    def own(self, rule: str) -> Decision:
        """End with the signer's own hash as the launch key's."""
        return self._checked(rule, (self._request.mrsigner,))

    def launch_enclave(self) -> Decision:
        """End with EINITTOKENKEY for a signer that the launch list has."""
        if not self.has(self._policy.launch):
            return self.no_signer(ListName.LAUNCH)
        self._granted |= LAUNCH
        return self.own(ListName.LAUNCH)

    def by_token(self) -> Decision:
        """End with each launch key in turn."""
        return self._checked(ListName.LAUNCH, self._policy.launch.signers)

    def no_signer(self, rule: str) -> Decision:
        """End with a refusal that was returned as success: a hash of zeros is tried."""
        decision = self._checked(rule, ())
        if not decision.is_allowed:
            return decision
        reason = "no list has the signer; the posted code goes on with a hash of zeros"
        return Decision(
            rule=rule, refusal=Refusal.SIGNER, reason=reason, granted=self._granted
        )

    def _checked(self, rule: str, launchkeys: tuple[bytes, ...]) -> Decision:
        lacking = self._request.wants & ~self._granted
        if lacking:
            return Decision(
                rule=rule,
                refusal=Refusal.ATTRIBUTE,
                reason=f"attributes {lacking:#x} are not allowed",
                granted=self._granted,
            )
        return Decision(
            rule=rule,
            reason="as the patch was posted",
            granted=self._granted,
            launchkeys=launchkeys,
            takes_token=True,
            is_dynamic=self._is_dynamic,
        )
