"""Pages on their way out of the EPC and back: versions, the MAC header, a SECS' bytes.

SDM: "EWB—Invalidate an EPC Page and Write out to Main Memory", "Version Array (VA)".
The manual names the fields of the MAC header and leaves their places to the processor,
and so it does with what a SECS holds beyond its table: both are ours.
"""

from dataclasses import dataclass

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.layout import Layout, at
from softsgx.arch.pageinfo import Pcmd
from softsgx.arch.secinfo import SecinfoFlags
from softsgx.arch.secs import Secs
from softsgx.crypto.gcm import IV_SIZE, aes_gcm_decrypt, aes_gcm_encrypt
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.measurement import Measurement

SLOT_SIZE = 8
"""Bytes of a version array's slot; a VA page has 512 of them."""

VERSION_STEP = 8
"""From one version to the next: EDBGRD does not count a slot's low three bits."""

_RSVD = slice(72, 112)
"""Where PCMD is reserved; EWB writes zeros there, and the MAC covers it."""


# fmt: off
class Macheader(Layout, size=128, align=128):
    """TMP_HEADER: what the MAC binds a page's contents to."""

    eid:     int   = at( 0,  8)
    linaddr: int   = at( 8,  8)
    secinfo: bytes = at(16, 64)
    rsvd:    bytes = at(80, 40)


class Secsprivate(Layout, size=56):
    """The end of a SECS' page: what is in no row of its table."""

    eid:          int   = at( 0,  8)
    blocks:       int   = at( 8,  8)
    isvfamilyid:  bytes = at(16, 16)
    isvextprodid: bytes = at(32, 16)
    virtchildcnt: int   = at(48,  8)
# fmt: on


@dataclass
class Paging:
    """CR_BASE_PK, 16 bytes drawn at each reset, and the last version given with it."""

    key: bytes
    version: int = 0

    def next_version(self) -> int:
        """Return a version that no page has had since the key was drawn; not 0."""
        self.version += VERSION_STEP
        return self.version

    def encrypt(
        self, version: int, header: bytes, contents: bytes | memoryview
    ) -> bytes:
        """Return a page's ciphertext, 4096 bytes, and behind it the MAC, 16."""
        return aes_gcm_encrypt(self.key, initial_counter(version), header, contents)

    def decrypt(self, version: int, header: bytes, sealed: bytes) -> bytes:
        """Return a page's contents; MismatchError unless all is as it went out."""
        return aes_gcm_decrypt(self.key, initial_counter(version), header, sealed)


def initial_counter(version: int) -> bytes:
    """Return the IV of a version: the counter TMP_VER << 32 without its count."""
    return version.to_bytes(IV_SIZE, "big")


def secinfo_flags(entry: EpcmEntry) -> SecinfoFlags:
    """Return SECINFO.FLAGS of an evicted page: its type, RWX, PENDING, MODIFIED, PR."""
    return SecinfoFlags(entry.state & ~0xC0)


def header_of(pcmd: bytes, linaddr: int, eid: int) -> Macheader:
    """Return the header of a page that PCMD's 128 bytes describe."""
    secinfo = pcmd[: Pcmd.cells()[0].size]
    return Macheader(eid=eid, linaddr=linaddr, secinfo=secinfo, rsvd=pcmd[_RSVD])


def secs_bytes(enclave: EnclaveState) -> bytes:
    """Return the page that leaves the EPC when a SECS does."""
    private = Secsprivate(
        eid=enclave.eid,
        blocks=enclave.measurement.blocks,
        isvfamilyid=enclave.isvfamilyid,
        isvextprodid=enclave.isvextprodid,
        virtchildcnt=enclave.virtchildcnt,
    )
    return bytes(enclave.secs)[: PAGE_SIZE - Secsprivate.SIZE] + bytes(private)


def enclave_of(
    page: bytes, measuring: dict[int, Measurement], address: int
) -> EnclaveState:
    """Return the enclave whose SECS came back; takes its running hash, if it has one.

    Nobody is inside: a new cycle of tracking begins.  *address* is its ENCLAVECONTEXT.
    """
    cut = PAGE_SIZE - Secsprivate.SIZE
    private = Secsprivate.from_bytes(page[cut:])
    return EnclaveState(
        Secs.from_bytes(page[:cut] + bytes(Secsprivate.SIZE)),
        measuring.pop(private.eid, Measurement(private.blocks)),
        private.eid,
        isvfamilyid=private.isvfamilyid,
        isvextprodid=private.isvextprodid,
        virtchildcnt=private.virtchildcnt,
        enclavecontext=address,
    )
