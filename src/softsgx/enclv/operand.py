"""What the leaves that count a monitor's pages check alike."""

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import CHILDREN, page_fault, page_offset
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.machine import Machine


def check_owner(
    machine: Machine, page: int, address: int, secs_page: int, secs: int
) -> EnclaveState:
    """Raise #PF unless *page* has a SECS or is one, #GP unless RCX, *secs*, is that.

    Return the enclave.  RCX inside of the SECS is another address than the SECS'.
    """
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(address, "the EPC page is not valid")
    if entry.pt not in (*CHILDREN, PageType.SECS):
        raise page_fault(address, "neither a SECS nor a page of one")
    owner = page if entry.pt == PageType.SECS else entry.enclavesecs
    if owner != secs_page or page_offset(secs):
        raise GeneralProtection("RCX is not the SECS of the page in RBX")
    return machine.enclaves[owner]
