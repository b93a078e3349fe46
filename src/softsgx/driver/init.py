"""SGX_IOC_ENCLAVE_INIT: EINIT, with the launch key's hash set to the signer's."""

import errno

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import Msr
from softsgx.arch.sigstruct import VENDOR_INTEL, Sigstruct
from softsgx.driver.build import einit
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl
from softsgx.driver.errnos import ERESTARTSYS, LEAF_ERRNOS, refuse
from softsgx.driver.gate import REFUSAL_ERRNOS, check_init, request_of
from softsgx.driver.ioctl import copy_in
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import sgx_enclave_init, sgx_enclave_init_token
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.request import RESTRICTED
from softsgx.machine.model import Model


def ioc_enclave_init(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_INIT: after a refusal it may be tried again."""
    _check_state(encl)
    params = copy_in(task, arg, sgx_enclave_init)
    _init(core, encl, task, params.sigstruct, bytes(Einittoken.SIZE))


def ioc_enclave_init_token(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """INIT with a launch token, as the posted patches had it; 0 for none."""
    _check_state(encl)
    params = copy_in(task, arg, sgx_enclave_init_token)
    token = bytes(Einittoken.SIZE)
    if params.token:
        token = task.copy_from_user(params.token, Einittoken.SIZE)
    _init(core, encl, task, params.sigstruct, token)


def _check_state(encl: Encl) -> None:
    if not encl.created or encl.initialized:
        raise refuse(errno.EINVAL, "not between CREATE and INIT")


def _init(core: Core, encl: Encl, task: Task, sigstruct_at: int, token: bytes) -> None:
    raw = task.copy_from_user(sigstruct_at, Sigstruct.SIZE)
    sigstruct = Sigstruct.from_bytes(raw)
    if sigstruct.vendor not in (0, VENDOR_INTEL):
        raise refuse(errno.EINVAL, f"vendor {sigstruct.vendor:#x}")
    if encl.attributes & ~encl.attributes_mask & ~RESTRICTED:
        forbidden = encl.attributes & ~encl.attributes_mask
        raise refuse(errno.EACCES, f"attributes {forbidden:#x} are not allowed")
    # From here on only copies count: the owner judges the bytes that EINIT gets.
    check_init(core.gate, task, sigstruct_at)
    request = request_of(encl, sigstruct, token)
    decision = core.gate.judge(task, request)
    try:
        code = _launch(core, encl, task, (sigstruct, raw, token), decision)
    except OSError as error:
        if decision.is_allowed and error.errno != ERESTARTSYS:
            core.gate.failed(task, request, decision, error.strerror or "")
        raise
    if code:
        core.gate.failed(task, request, decision, f"SGX_{code.name}")
        raise refuse(LEAF_ERRNOS[Encls.EINIT].code, f"EINIT: SGX_{code.name}")
    encl.is_dynamic = decision.is_dynamic
    encl.initialized = True


def _launch(
    core: Core,
    encl: Encl,
    task: Task,
    given: tuple[Sigstruct, bytes, bytes],
    decision: Decision,
) -> SgxError | None:
    """Do what was decided, in Linux's order; *given*: SIGSTRUCT, its bytes, a token."""
    sigstruct, raw, token = given
    if decision.refusal is Refusal.ATTRIBUTE:
        raise refuse(REFUSAL_ERRNOS[decision.refusal], decision.reason)
    _check_enforced(sigstruct, core.cpu.model)
    if decision.refusal is not None:
        raise refuse(REFUSAL_ERRNOS[decision.refusal], decision.reason)
    return _einit_keys(core, encl, task, raw, token, decision)


def _check_enforced(sigstruct: Sigstruct, model: Model) -> None:
    """Refuse what the signer insists on and this processor lacks."""
    flags = sigstruct.attributes.flags & sigstruct.attributemask.flags
    if int(flags) & ~int(model.attributes):
        raise refuse(errno.EINVAL, f"attributes {int(flags):#x} enforced, not had")
    misc = sigstruct.miscselect & sigstruct.miscmask
    if int(misc) & ~int(model.miscselect):
        raise refuse(errno.EINVAL, f"miscselect {int(misc):#x} enforced, not had")
    xfrm = sigstruct.attributes.xfrm & sigstruct.attributemask.xfrm
    if xfrm & ~model.xfrm:
        raise refuse(errno.EINVAL, f"xfrm {xfrm:#x} enforced, not had")


def _set_lepubkeyhash(core: Core, mrsigner: bytes) -> None:
    package = core.cpu.package
    for word in range(4):
        value = int.from_bytes(mrsigner[word * 8 : word * 8 + 8], "little")
        package.wrmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word, value)


def _einit_keys(
    core: Core, encl: Encl, task: Task, raw: bytes, token: bytes, decision: Decision
) -> SgxError | None:
    """Try EINIT with each launch key in turn; return what it says in the end.

    That is the error code of the key that came furthest: a token's MAC is right under
    one key, and what is wrong with it otherwise shows only there.
    """
    if not decision.takes_token:
        token = bytes(Einittoken.SIZE)
    furthest = SgxError.INVALID_EINITTOKEN
    for launchkey in decision.launchkeys:
        _set_lepubkeyhash(core, launchkey)
        try:
            code = einit(core, encl, task, raw, token)
        except Fault as fault:
            number = LEAF_ERRNOS[Encls.EINIT].fault
            raise refuse(number, f"EINIT: {fault}") from fault
        if code is None:
            return None
        if furthest is SgxError.INVALID_EINITTOKEN:
            furthest = code
    return furthest
