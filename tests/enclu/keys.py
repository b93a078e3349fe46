"""An enclave that may ask for every key, and short ways to ask."""

from dataclasses import replace

from softsgx.arch.key import Keyname, Keyrequest
from softsgx.arch.leaves import Enclu
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from tests.enclu.world import DATA, DATA2, FLAGS, World, inside_world

KEYREQUEST, OUTPUT = DATA, DATA2 + 16
EVERY_ATTRIBUTE = int(
    FLAGS
    | AttributeFlags.KSS
    | AttributeFlags.PROVISIONKEY
    | AttributeFlags.EINITTOKENKEY
)
BEYOND = bytes(15) + b"\1"
SEALING = Keyname.SEAL_KEY


def keyed_world(flags: int = EVERY_ATTRIBUTE) -> World:
    world = inside_world()
    world.change_secs(
        attributes=Attributes(flags=AttributeFlags(flags), xfrm=3),
        miscselect=Miscselect.EXINFO,
    )
    world.enclave.isvfamilyid, world.enclave.isvextprodid = b"f" * 16, b"x" * 16
    return world


def request(name: int = SEALING, **fields: object) -> Keyrequest:
    base = replace(Keyrequest.zero(), keyname=int(name), keyid=b"k" * 32)
    return replace(base, **fields)  # type: ignore[arg-type]


def code(world: World, asked: Keyrequest) -> int:
    world.put(KEYREQUEST, asked)
    world.call(Enclu.EGETKEY, KEYREQUEST, OUTPUT)
    return world.lp.regs.rax


def key(world: World, asked: Keyrequest) -> bytes:
    assert code(world, asked) == 0
    return world.bytes_at(OUTPUT, 16)
