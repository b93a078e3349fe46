"""What `softsgx sign` makes, a processor takes: built leaf by leaf, then EINIT."""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.sigstruct import Sigstruct
from softsgx.formats.elf import PF_UNMEASURED, read_flat
from softsgx.formats.image import Image
from softsgx.formats.sign import Claims, sign_image
from tests.formats.test_elf import TCS as TCS_LOAD
from tests.formats.test_elf import TEXT, Load, R, W, X, elf
from tests.support import Ring0, make_machine, make_secs, make_tcs, refuses, signing_key

CLAIMS = Claims(date=20240229, isvprodid=7, isvsvn=3)


def image() -> Image:
    heap = Load(3 * PAGE_SIZE, R | W | PF_UNMEASURED, b"", 2 * PAGE_SIZE)
    data = Load(2 * PAGE_SIZE, R | W, b"data", PAGE_SIZE)
    code = replace(TEXT, flags=R | X)
    return read_flat(elf(replace(TCS_LOAD, data=make_tcs()), code, data, heap))


def built(sigstruct: Sigstruct, built_image: Image) -> Ring0:
    """Build an enclave as a loader does, of the kind that its signer wants."""
    ring0 = Ring0(make_machine())
    secs = make_secs(
        size=built_image.size,
        ssaframesize=built_image.ssaframesize,
        attributes=sigstruct.attributes,
    )
    ring0.ecreate(0, secs)
    page = 0
    for segment in built_image.segments:
        contents = b"".join(segment.views())
        for at in range(0, segment.size, PAGE_SIZE):
            page += 1
            one = contents[at : at + PAGE_SIZE]
            ring0.eadd(page, segment.offset + at, segment.flags, one)
            if segment.measured:
                ring0.eextend(page)
    ring0.authorize(bytes(sigstruct))
    return ring0


def test_a_signed_enclave_starts() -> None:
    sigstruct = sign_image(image(), CLAIMS, signing_key())
    ring0 = built(sigstruct, image())
    ring0.einit(bytes(sigstruct))
    secs = ring0.enclave().secs
    assert secs.mrenclave == sigstruct.enclavehash
    assert (secs.isvprodid, secs.isvsvn) == (7, 3)


def test_a_debug_enclave_starts_as_one() -> None:
    sigstruct = sign_image(image(), replace(CLAIMS, debug=True), signing_key())
    ring0 = built(sigstruct, image())
    ring0.einit(bytes(sigstruct))
    assert ring0.enclave().secs.attributes.flags & AttributeFlags.DEBUG


def test_a_production_enclave_never_starts_as_a_debug_one() -> None:
    sigstruct = sign_image(image(), CLAIMS, signing_key())
    debug = Attributes(
        flags=sigstruct.attributes.flags | AttributeFlags.DEBUG,
        xfrm=sigstruct.attributes.xfrm,
    )
    ring0 = built(replace(sigstruct, attributes=debug), image())
    with refuses(ring0.machine, SgxError.INVALID_ATTRIBUTE, "ATTRIBUTES"):
        ring0.einit(bytes(sigstruct))


def test_another_image_does_not_start() -> None:
    sigstruct = sign_image(image(), CLAIMS, signing_key())
    other = image()
    text = replace(other.segments[1], data=b"\xcc")
    other = replace(other, segments=(other.segments[0], text, *other.segments[2:]))
    ring0 = built(sigstruct, other)
    with refuses(ring0.machine, SgxError.INVALID_MEASUREMENT, "MRENCLAVE"):
        ring0.einit(bytes(sigstruct))
