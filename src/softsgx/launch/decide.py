"""May this enclave launch?  A pure function of a policy and what is asked.

The rules are those of the "cryptographic initialization control" patches of 2020
(20200426170349.GB11046@wind.enjellic.com, 20201121151259.GA3948@wind.enjellic.com) as
they were evidently meant; `editions.py` has them as they were posted.
"""

from dataclasses import replace

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.secs import AttributeFlags
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.editions import decide_v29, decide_v41
from softsgx.launch.policy import Edition, ListName, Mode, Policy
from softsgx.launch.request import Request

DEFAULT_RULE = "default"


def decide(policy: Policy, request: Request) -> Decision:
    """Decide as the policy's edition does; in audit mode a refusal is waived."""
    decision = _EDITIONS[policy.edition](policy, request)
    return decision.waived(request) if policy.mode is Mode.AUDIT else decision


def _decide(policy: Policy, request: Request) -> Decision:
    granted, forbidden = _attributes(policy, request)
    decision = forbidden or _signer(policy, request)
    if policy.dynamic:
        match = policy.dynamic.find(request)
        decision = replace(decision, is_dynamic=bool(match))
    return replace(decision, granted=granted)


def _attributes(
    policy: Policy, request: Request
) -> tuple[AttributeFlags, Decision | None]:
    """Return which restricted attributes it may have, and a refusal of the others."""
    granted = AttributeFlags(0)
    listed = policy.provisioning.find(request)
    if request.has_provision_fd or listed:
        granted |= AttributeFlags.PROVISIONKEY
    may_be_launch = policy.launch.find(request)
    if may_be_launch:
        granted |= AttributeFlags.EINITTOKENKEY
    lacking = request.wants & ~granted
    if lacking & AttributeFlags.EINITTOKENKEY:
        why = may_be_launch.why_not if policy.launch else "no launch enclave is listed"
        return granted, _refused(ListName.LAUNCH, "EINITTOKENKEY", why)
    if lacking & AttributeFlags.PROVISIONKEY:
        why = f"no /dev/sgx_provision was shown, and {listed.why_not}"
        return granted, _refused(ListName.PROVISIONING, "PROVISIONKEY", why)
    return granted, None


def _refused(name: ListName, attribute: str, why: str) -> Decision:
    return Decision(
        rule=name,
        refusal=Refusal.ATTRIBUTE,
        reason=f"the enclave may not have {attribute}: {why}",
    )


def _signer(policy: Policy, request: Request) -> Decision:
    """Decide by signer: listed, a launch enclave, by a token, or not at all."""
    if not policy.signing and not policy.launch:
        return _own(request, DEFAULT_RULE, "no list says who may launch")
    signing = policy.signing.find(request)
    if signing:
        return _own(request, f"signing[{signing.at}]", "the signer is listed")
    if request.wants & AttributeFlags.EINITTOKENKEY:
        launch = policy.launch.find(request)
        return _own(request, f"launch[{launch.at}]", "a listed launch enclave")
    if policy.launch and request.token is not None:
        return _by_token(policy, request, request.token)
    if policy.signing:
        why = f"the signer may not launch enclaves here: {signing.why_not}"
        return Decision(rule=ListName.SIGNING, refusal=Refusal.SIGNER, reason=why)
    why = "a token of a listed launch enclave is needed, and there is none"
    return Decision(rule=ListName.LAUNCH, refusal=Refusal.SIGNER, reason=why)


def _by_token(policy: Policy, request: Request, token: Einittoken) -> Decision:
    keys = policy.launch.honouring(token, request.today)
    if not keys:
        why = "no listed launch enclave's tokens like this one count"
        return Decision(rule=ListName.LAUNCH, refusal=Refusal.SIGNER, reason=why)
    why = "a token of a listed launch enclave decides"
    return Decision(rule=ListName.LAUNCH, reason=why, launchkeys=keys)


def _own(request: Request, rule: str, reason: str) -> Decision:
    return Decision(rule=rule, reason=reason, launchkeys=(request.mrsigner,))


_EDITIONS = {
    Edition.SOFTSGX: _decide,
    Edition.V29: decide_v29,
    Edition.V41: decide_v41,
}
