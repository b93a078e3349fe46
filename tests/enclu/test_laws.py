"""Laws that hold for every state: nothing lost over an exit, nothing done by halves."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softsgx.arch.faults import Fault
from softsgx.arch.key import Keyrequest
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.targetinfo import Targetinfo
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.processor import (
    RFLAGS_FIXED,
    RFLAGS_IOPL,
    RFLAGS_RESTORED,
    RFLAGS_TF,
    Regs,
)
from softsgx.machine.xsave import INTEL_LAYOUT
from tests.enclu.world import (
    ABSENT,
    BASE,
    CODE,
    DATA,
    DATA2,
    DATA3,
    FLAGS,
    OTHER_SECS_PAGE,
    OTHERS,
    READ_ONLY,
    SECS_PAGE,
    SIZE,
    SSA,
    TCS,
    TCS2,
    World,
    new_world,
    processor_state,
)

WORDS = st.integers(0, (1 << 64) - 1)
XFRMS = st.sampled_from([0x3, 0x7, 0x1F, 0xE7, 0x2E7])
GENERAL = [
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{n}" for n in range(8, 16)),
]
canonical = st.integers(0, (1 << 47) - 1) | st.integers(
    (1 << 64) - (1 << 47), 2**64 - 1
)


@st.composite
def registers(draw: st.DrawFn) -> Regs:
    words = draw(st.lists(WORDS, min_size=16, max_size=16))
    flags = draw(st.integers(0, RFLAGS_RESTORED)) & RFLAGS_RESTORED
    return Regs(
        **dict(zip(GENERAL, words, strict=True)),
        rip=draw(canonical),
        rflags=RFLAGS_FIXED | flags,
        fsbase=draw(canonical),
        gsbase=draw(canonical),
    )


@st.composite
def extended_state(draw: st.DrawFn, xfrm: int, size: int) -> bytearray:
    seed = draw(st.binary(min_size=61, max_size=61))
    state = bytearray((seed * (size // 61 + 1))[:size])
    in_use = draw(st.integers(0, xfrm)) & xfrm
    state[512:576] = in_use.to_bytes(8, "little") + bytes(56)
    mxcsr = draw(st.integers(0, 0xFFFF))
    state[24:32] = mxcsr.to_bytes(4, "little") + (0xFFFF).to_bytes(4, "little")
    return state


def seen(state: bytearray, xfrm: int) -> dict[int, bytes]:
    """What a program can read of the components of *xfrm*: INIT where not in use."""
    in_use = int.from_bytes(state[512:520], "little")
    parts: dict[int, bytes] = {-1: bytes(state[24:28])}
    for bit, start, end in INTEL_LAYOUT.regions(xfrm):
        init = (b"\x7f\3" if start == 0 else b"").ljust(end - start, b"\0")
        part = bytes(state[start:end]) if in_use >> bit & 1 else init
        parts[bit] = parts.get(bit, b"") + part
    return parts


@settings(deadline=None, max_examples=60)
@given(st.data(), registers(), registers(), XFRMS, st.integers(0, 255))
def test_entry_exit_resumption_restores_everything(
    data: st.DataObject, outside: Regs, inside: Regs, xfrm: int, vector: int
) -> None:
    world = new_world(xfrm=xfrm)
    world.lp.regs = replace(outside, rflags=outside.rflags & ~RFLAGS_TF)
    world.eenter()
    state = data.draw(extended_state(xfrm, len(world.lp.xsave)))
    world.lp.regs, world.lp.xsave = replace(inside), bytearray(state)
    address = asynchronous_exit(world.machine, world.lp, vector, 4, inside.rdi)
    assert address in (inside.rdi, inside.rdi & ~0xFFF)
    hidden = replace(world.lp.regs)
    assert (hidden.fsbase, hidden.gsbase) == (outside.fsbase, outside.gsbase)
    assert (hidden.rsp, hidden.rbp) == (outside.rsp, outside.rbp)
    world.eresume()
    assert world.lp.regs == inside
    assert seen(world.lp.xsave, xfrm) == seen(state, xfrm)
    assert world.tcs().cssa == 0


@settings(deadline=None, max_examples=30)
@given(st.data(), registers(), XFRMS)
def test_an_exit_shows_nothing_of_the_inside(
    data: st.DataObject, inside: Regs, xfrm: int
) -> None:
    shown = []
    for _ in range(2):
        world = new_world(xfrm=xfrm)
        world.eenter()
        world.lp.xsave = data.draw(extended_state(xfrm, len(world.lp.xsave)))
        world.lp.regs = replace(inside, rax=data.draw(WORDS), r9=data.draw(WORDS))
        asynchronous_exit(world.machine, world.lp, 32)
        shown.append((world.lp.regs, seen(world.lp.xsave, xfrm)))
    assert shown[0] == shown[1]


PAGES = [TCS, TCS2, SSA, SSA + 0x1000, CODE, DATA, DATA2, DATA3, READ_ONLY, ABSENT]
OPERANDS = st.one_of(
    st.sampled_from([*PAGES, OTHERS, BASE - 4096, BASE + SIZE, 0, 1 << 47]),
    st.builds(
        int.__add__, st.sampled_from(PAGES), st.sampled_from([1, 16, 64, 128, 512])
    ),
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "valid": st.booleans(),
        "r": st.booleans(),
        "w": st.booleans(),
        "x": st.booleans(),
        "pending": st.booleans(),
        "modified": st.booleans(),
        "blocked": st.booleans(),
        "pr": st.booleans(),
        "pt": st.sampled_from([int(t) for t in PageType]),
        "enclavesecs": st.sampled_from([SECS_PAGE, OTHER_SECS_PAGE]),
    },
)
CONTENTS = st.one_of(
    st.builds(lambda f: f.to_bytes(8, "little") + bytes(56), st.integers(0, 0x63F)),
    st.builds(
        lambda name, svn: bytes(replace(Keyrequest.zero(), keyname=name, isvsvn=svn)),
        st.integers(0, 6),
        st.integers(0, 9),
    ),
    st.just(bytes(Targetinfo.zero())),
    st.binary(min_size=64, max_size=64),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = new_world(nssa=draw(st.integers(0, 2)), xfrm=draw(st.sampled_from([3, 7])))
    if draw(st.booleans()):
        world.change_tcs(cssa=0, nssa=2)
        world.eenter()
        if draw(st.booleans()):
            asynchronous_exit(world.machine, world.lp, 32)
    changes = st.dictionaries(st.sampled_from(PAGES), ENTRIES, max_size=3)
    for address, change in draw(changes).items():
        world.change_epcm(address, **change)
    for address in (DATA, DATA2, DATA3, READ_ONLY):
        world.put(address, draw(CONTENTS))
    if draw(st.integers(0, 3)) == 0:
        world.change_attributes(int(draw(st.sampled_from(ATTRIBUTES))))
    if draw(st.integers(0, 3)) == 0:
        world.change_tcs(**draw(TCS_CHANGES))
    world.memory.absent |= draw(st.sets(st.sampled_from(PAGES), max_size=1))
    world.enclave.epoch = draw(st.integers(0, 1))
    return world


ATTRIBUTES = [FLAGS, FLAGS | AttributeFlags.KSS, AttributeFlags.MODE64BIT]
TCS_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "flags": st.sampled_from([0, 1, 2, 4]).map(TcsFlags),
        "ossa": st.sampled_from([0, 8, SSA - BASE]),
        "cssa": st.integers(0, 3),
        "oentry": st.sampled_from([0, 1 << 47]),
        "stage": st.integers(0, 1),
    },
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.sampled_from(list(Enclu)), OPERANDS, OPERANDS, OPERANDS)
def test_a_leaf_that_fails_changes_nothing(
    world: World, leaf: Enclu, rbx: int, rcx: int, rdx: int
) -> None:
    regs = world.lp.regs
    regs.rax, regs.rbx, regs.rcx, regs.rdx = int(leaf), rbx, rcx, rdx
    machine, processor = world.machine.snapshot(), processor_state(world.lp)
    flags, rip = regs.rflags, regs.rip
    try:
        world.call(leaf, rbx, rcx, rdx)
    except Fault:
        assert world.machine.snapshot() == machine
        assert processor_state(world.lp) == processor
        return
    if leaf in (Enclu.EACCEPT, Enclu.EACCEPTCOPY, Enclu.EGETKEY) and regs.rax:
        assert world.machine.snapshot() == machine
        regs.rax, regs.rflags, regs.rip = int(leaf), flags, rip
        assert processor_state(world.lp) == processor


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_an_entry_that_succeeds_can_always_exit(world: World) -> None:
    world.lp.regs.rflags &= ~RFLAGS_IOPL
    try:
        world.eenter()
    except Fault:
        return
    cssa = world.tcs().cssa
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.tcs().cssa == cssa + 1
    assert not world.lp.enclave_mode
    assert Tcs.reserved_is_zero(bytes(world.tcs()))
