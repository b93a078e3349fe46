"""Threads that are killed inside an enclave which lives on in another process.

Their processor left by an asynchronous exit, of which nobody here was told.
"""

from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.machine.crossing import STAGE_INACTIVE
from softsgx.machine.fields import TCS_CSSA, TCS_OWNER, TCS_STAGE
from softsgx.machine.processor import Processor


class Insiders:
    """The TCSs of each enclave that the model let a thread in through.

    In normal mode later entries are not told of; the TCS says whose thread is inside.
    """

    def __init__(self, driver: Driver):
        self._driver = driver
        self._entered: dict[Encl, dict[int, int]] = {}

    def entered(self, lp: Processor, pid: int) -> None:
        """Take note that a thread of a process just entered."""
        encl = self._driver.by_secs[lp.cr_active_secs]
        self._entered.setdefault(encl, {})[lp.cr_tcs_la] = lp.id
        encl.entered.add(encl.index(lp.cr_tcs_la))
        TCS_OWNER.write(self._driver.machine.epc.page(lp.cr_tcs_pa), pid)

    def killed(self, encl: Encl, pid: int) -> None:
        """Take the threads of a process that is gone out of an enclave."""
        for tcs_la, thread in self._entered.get(encl, {}).items():
            page = encl.page(tcs_la)
            if page is None or page.evicted:
                continue  # with a thread inside it would have stayed in the EPC
            if self._take_out(page.epc_page, pid):
                encl.counts.aex += 1
                self._driver.machine.enclaves[encl.secs].leave(thread)

    def forget(self, encl: Encl) -> None:
        """Drop what is known of an enclave that is gone."""
        self._entered.pop(encl, None)

    def _take_out(self, epc_page: int, pid: int) -> bool:
        """Count the frame that the exit filled; what was in it died with the thread."""
        tcs = self._driver.machine.epc.page(epc_page)
        if TCS_STAGE.read(tcs) == STAGE_INACTIVE or TCS_OWNER.read(tcs) != pid:
            return False
        TCS_CSSA.write(tcs, TCS_CSSA.read(tcs) + 1 & _U32)
        TCS_STAGE.write(tcs, STAGE_INACTIVE)
        return True


_U32 = (1 << 32) - 1
