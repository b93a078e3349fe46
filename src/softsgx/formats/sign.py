"""Makes the SIGSTRUCT of an image."""

from dataclasses import dataclass, replace

from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.arch.sigstruct import EXPONENT, HEADER, HEADER2, Sigstruct, signed_part
from softsgx.crypto.rsa import SigningKey, quotients
from softsgx.crypto.sha256 import sha256
from softsgx.formats.image import FormatError, Image, measure_image

_ALL_FLAGS = AttributeFlags(0xFFFF_FFFF_FFFF_FFFF)
_ALL_XFRM = 0xFFFF_FFFF_FFFF_FFFF
_ALL_MISC = Miscselect(0xFFFF_FFFF)


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the signer says of an enclave; *date* is a number written yyyymmdd.

    A *debug* enclave can be looked into, one that is not can never become one.
    *launch*: it makes launch tokens (EINITTOKENKEY).
    """

    date: int
    isvprodid: int = 0
    isvsvn: int = 0
    debug: bool = False
    launch: bool = False


def sign_image(image: Image, claims: Claims, key: SigningKey) -> Sigstruct:
    """Return the SIGSTRUCT that lets exactly this image, built this way, start."""
    sigstruct = replace(
        _unsigned(image, claims),
        modulus=key.modulus,
        exponent=EXPONENT,
    )
    signature = key.sign(signed_part(bytes(sigstruct)))
    q1, q2 = quotients(key.modulus, signature)
    return replace(sigstruct, signature=signature, q1=q1, q2=q2)


def mrsigner(sigstruct: Sigstruct) -> bytes:
    """Return MRSIGNER, 32 bytes: the hash of the signer's modulus."""
    return sha256(sigstruct.modulus)


def _unsigned(image: Image, claims: Claims) -> Sigstruct:
    flags = image.attributes.flags
    if claims.debug:
        flags |= AttributeFlags.DEBUG
    if claims.launch:
        flags |= AttributeFlags.EINITTOKENKEY
    if image.attributes.xfrm & 3 != 3:
        raise FormatError(f"XFRM {image.attributes.xfrm:#x} lacks x87 or SSE")
    return replace(
        Sigstruct.zero(),
        header=HEADER,
        header2=HEADER2,
        date=bcd_date(claims.date),
        miscselect=image.miscselect,
        miscmask=_ALL_MISC,
        attributes=Attributes(flags=flags, xfrm=image.attributes.xfrm),
        attributemask=Attributes(flags=_ALL_FLAGS, xfrm=_ALL_XFRM),
        enclavehash=measure_image(image),
        isvprodid=claims.isvprodid,
        isvsvn=claims.isvsvn,
    )


def bcd_date(yyyymmdd: int) -> int:
    """Return a date as SIGSTRUCT holds it: its decimal digits read as hex."""
    return int(f"{yyyymmdd:08d}", 16)
