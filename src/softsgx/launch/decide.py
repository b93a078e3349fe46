"""May this enclave launch?  A pure function of a policy and what is asked.

The rules are those of the "cryptographic initialization control" patches of 2020
(20200426170349.GB11046@wind.enjellic.com, 20201121151259.GA3948@wind.enjellic.com) as
they were evidently meant; `editions.py` has them as they were posted.
"""

from dataclasses import replace

from softsgx.arch.einittoken import Einittoken
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.editions import decide_v29, decide_v41
from softsgx.launch.policy import Edition, ListName, Mode, Policy
from softsgx.launch.request import LAUNCH, PROVISION, Request

DEFAULT_RULE = "default"


def decide(policy: Policy, request: Request) -> Decision:
    """Decide as the policy's edition does; in audit mode a refusal is waived.

    The editions are of patches to Linux's driver, which a locked processor has not.
    """
    edition = Edition.SOFTSGX if request.is_locked else policy.edition
    decision = _EDITIONS[edition](policy, request)
    return decision.waived(request) if policy.mode is Mode.AUDIT else decision


def _decide(policy: Policy, request: Request) -> Decision:
    decision = _forbidden(policy, request) or _signer(policy, request)
    if request.is_locked:
        takes_token = request.token is not None
        decision = replace(decision, launchkeys=(), takes_token=takes_token)
    if decision.is_allowed and request.wants & PROVISION:
        by = f"PROVISIONKEY by {_provisioner(policy, request)}"
        decision = replace(decision, reason=f"{decision.reason}; {by}")
    if policy.dynamic:
        match = policy.dynamic.find(request)
        if not match:
            reason = (
                f"{decision.reason}; it may map nothing after INIT: {match.why_not}"
            )
            return replace(decision, reason=reason, is_dynamic=False)
    return decision


def _provisioner(policy: Policy, request: Request) -> str:
    match = policy.provisioning.find(request)
    if match:
        return f"provisioning[{match.at}]"
    return "EINIT alone" if request.is_locked else "/dev/sgx_provision"


def _forbidden(policy: Policy, request: Request) -> Decision | None:
    """Refuse an attribute that nobody gave leave for.

    On a locked processor EINIT and the launch enclave give it, until a list says who.
    """
    if request.wants & LAUNCH and (policy.launch or not request.is_locked):
        match = policy.launch.find(request)
        if not match:
            why = match.why_not if policy.launch else "no launch enclave is listed"
            return _no_attribute(ListName.LAUNCH, "EINITTOKENKEY", why)
    has_leave = request.has_provision_fd
    if request.is_locked and not policy.provisioning:
        has_leave = True
    if request.wants & PROVISION and not has_leave:
        match = policy.provisioning.find(request)
        if not match:
            why = f"no /dev/sgx_provision was shown, and {match.why_not}"
            return _no_attribute(ListName.PROVISIONING, "PROVISIONKEY", why)
    return None


def _no_attribute(name: ListName, attribute: str, why: str) -> Decision:
    reason = f"the enclave may not have {attribute}: {why}"
    return Decision(rule=name, refusal=Refusal.ATTRIBUTE, reason=reason)


def _signer(policy: Policy, request: Request) -> Decision:
    """Decide by signer: listed, a launch enclave, by a token, or not at all."""
    if not policy.signing and not policy.launch:
        return _own(request, DEFAULT_RULE, "no list says who may launch")
    signing = policy.signing.find(request)
    if signing:
        return _own(request, f"signing[{signing.at}]", "the signer is listed")
    if request.wants & LAUNCH and policy.launch:
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
    return Decision(
        rule=ListName.LAUNCH,
        reason=why,
        granted=request.wants,
        launchkeys=keys,
        takes_token=True,
    )


def _own(request: Request, rule: str, reason: str) -> Decision:
    return Decision(
        rule=rule,
        reason=reason,
        granted=request.wants,
        launchkeys=(request.mrsigner,),
    )


_EDITIONS = {
    Edition.SOFTSGX: _decide,
    Edition.V29: decide_v29,
    Edition.V41: decide_v41,
}
