"""The trace: who, what, with which words, what came of it, how long."""

import io
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import PageFault
from softsgx.arch.key import Keypolicy, Keyrequest
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags
from softsgx.driver import isgx_uapi, uapi
from softsgx.machine.trace import AsynchronousExit, LeafExecuted
from softsgx.runner import words
from softsgx.runner.task.process import UserTask
from softsgx.runner.tracing import Tracer
from tests.driver import isgx
from tests.driver.fakes import ARGS, BASE, PAGE, SCRATCH, SIZE, TCS, World, tcs_bytes

TIME = re.compile(r" <\d+\.\d{6}>$")


class Bench:
    """A world whose ioctls and leaves are traced."""

    def __init__(self) -> None:
        self.world = World()
        self.out = io.StringIO()
        self.tracer = Tracer(self.out)
        self.world.machine.trace = self.tracer.event
        self.task = cast("UserTask", self.world.task)
        cast("Any", self.task).tid = 42
        self.tracer.begin(self.task)

    def ioctl(self, cmd: int, arg: int = ARGS) -> None:
        world = self.world
        self.tracer.ioctl(world.driver, world.encl, self.task, 3, cmd, arg)

    def lines(self, of: str = "ioctl") -> list[str]:
        """Return the lines about something, without their time, which each has."""
        lines = self.out.getvalue().splitlines()
        assert all(TIME.search(line) for line in lines)
        head = f"softsgx: [pid 42] {of}"
        return [TIME.sub("", line)[18:] for line in lines if line.startswith(head)]


def test_create_shows_the_secs() -> None:
    bench = Bench()
    data = bytes(bench.world.secs)
    bench.world.put(uapi.sgx_enclave_create(src=SCRATCH), data)
    bench.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    assert bench.lines() == [
        "ioctl(3, SGX_IOC_ENCLAVE_CREATE, {src={size=1 MiB, baseaddr=0x1000000000, "
        "attributes={MODE64BIT, xfrm=0x3}, miscselect=0, ssaframesize=1}}) = 0"
    ]
    assert bench.lines("ENCLS[ECREATE](pageinfo=")


def test_add_pages_shows_the_secinfo_and_how_far_it_came() -> None:
    bench = Bench()
    world = bench.world
    world.create()
    world.source(tcs_bytes() + bytes(3 * PAGE))
    world.add_struct(0, 1, flags=uapi.SGX_PAGE_MEASURE)
    world.scratch.data[:64] = bytes(Secinfo(flags=SecinfoFlags(TCS)))
    bench.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGES)
    assert bench.lines() == [
        "ioctl(3, SGX_IOC_ENCLAVE_ADD_PAGES, {src=0x70000000, offset=0x0, "
        "length=4 KiB, secinfo={0, PT_TCS}, flags=SGX_PAGE_MEASURE} => "
        "{count=4 KiB}) = 0"
    ]


def test_the_reserved_fields_of_2020_are_shown() -> None:
    bench = Bench()
    backed = uapi.sgx_enclave_create_backed(src=SCRATCH, backing_fd=0)
    bench.world.put(backed, bytes(bench.world.secs))
    bench.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE_BACKED)
    (line,) = bench.lines()
    assert line.startswith("ioctl(3, SGX_IOC_ENCLAVE_CREATE_BACKED, {src={size=1 MiB")
    assert line.endswith("backing_fd=0}) = 0")


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (b"\0", "{valid=0x0}"),
        (
            b"\1",
            "{valid=0x1, mrenclave=0000000000000000..., attributes={0}, "
            "isvprodidle=0, isvsvnle=0}",
        ),
    ],
)
def test_a_token_is_shown(token: bytes, shown: str) -> None:
    bench = Bench()
    given = uapi.sgx_enclave_init_token(sigstruct=0x10, token=SCRATCH)
    bench.world.put(given, token.ljust(304, b"\0"))
    with pytest.raises(OSError, match="CREATE"):
        bench.ioctl(uapi.SGX_IOC_ENCLAVE_INIT_TOKEN)
    (line,) = bench.lines()
    assert f"{{sigstruct=0x10, token={shown}}}) = -1 EINVAL (" in line


def test_every_ioctl_has_its_structure() -> None:
    numbers = [
        value
        for name, value in vars(uapi).items()
        if name.startswith("SGX_IOC_ENCLAVE")
    ]
    assert len(numbers) == 9
    for number in numbers:
        assert words.ioctl_argument(zeros, number, 0x10).startswith("{")


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({}, "= 16 SGX_INVALID_EINITTOKEN"),
        ({"einittoken": 0}, "= 304"),
        ({"addr": BASE + SIZE}, "= -1 EINVAL ("),
    ],
)
def test_what_isgx_returns_is_named(fields: dict[str, int], result: str) -> None:
    world = isgx.ready()
    world.machine.package.lepubkeyhash = bytes(32)
    world.put_init(isgx.NO_TOKEN, **fields)
    out, task = io.StringIO(), cast("UserTask", world.task)
    tracer = Tracer(out)
    tracer.begin(task)
    cast("Any", task).tid = 42
    cmd = isgx_uapi.SGX_IOC_ENCLAVE_INIT
    with suppress(OSError):
        tracer.ioctl(world.driver, world.file, task, 3, cmd, ARGS)
    line = TIME.sub("", out.getvalue().splitlines()[-1])
    assert "ioctl(3, SGX_IOC_ENCLAVE_INIT, {addr=0x1000" in line
    assert result in line
    assert line.endswith(result) or "EINVAL" in result


def zeros(address: int, size: int) -> bytes:
    if address != 0x10:
        raise OSError
    return bytes(size)


def test_a_refusal_is_an_errno_in_words() -> None:
    bench = Bench()
    with pytest.raises(OSError, match="bad address"):
        bench.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE, 0x123)
    with pytest.raises(OSError, match="ioctl"):
        bench.ioctl(0xA455)
    first, second = bench.lines()
    assert first.startswith("ioctl(3, SGX_IOC_ENCLAVE_CREATE, 0x123) = -1 EFAULT (")
    assert second.startswith(f"ioctl(3, 0xa455, {ARGS:#x}) = -1 ENOTTY (")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            LeafExecuted(42, Enclu.EENTER, BASE, 0x401000, 0),
            "ENCLU[EENTER](tcs=0x1000000000, aep=0x401000) = 0",
        ),
        (
            LeafExecuted(42, Enclu.EACCEPT, SCRATCH, BASE, 0),
            "ENCLU[EACCEPT](secinfo={R|W|PENDING, PT_REG}, page=0x1000000000) = 0",
        ),
        (
            LeafExecuted(42, Enclu.EACCEPT, 0x10, BASE, 0, error=SgxError(19)),
            "ENCLU[EACCEPT](secinfo=0x10, page=0x1000000000) = "
            "19 SGX_PAGE_ATTRIBUTES_MISMATCH",
        ),
        (
            LeafExecuted(42, Enclu.EGETKEY, SCRATCH + 1024, 0x20, 0),
            "ENCLU[EGETKEY](keyrequest={SEAL_KEY, keypolicy=MRENCLAVE|MRSIGNER, "
            "isvsvn=7}, outputdata=0x20) = 0",
        ),
        (
            LeafExecuted(42, Enclu.EDECCSSA, 1, 2, 3),
            "ENCLU[EDECCSSA]() = 0",
        ),
        (
            LeafExecuted(0, Encls.EREMOVE, 0, 0x4000, 0),
            "ENCLS[EREMOVE](page=0x4000) = 0",
        ),
        (
            AsynchronousExit(42, 0, 14, 0x8007, BASE + 5),
            "AEX(vector=14, error=0x8007, address=0x1000000005) = 0",
        ),
        (AsynchronousExit(42, 0, 6, 0, 0), "AEX(vector=6, error=0x0) = 0"),
        (AsynchronousExit(42, 0, 0x100, 0, 0), "AEX(interrupt) = 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_events_are_lines(event: LeafExecuted | AsynchronousExit, line: str) -> None:
    bench = Bench()
    secinfo = Secinfo(flags=SecinfoFlags.of(PageType.REG, 0b1011))
    policy = Keypolicy.MRENCLAVE | Keypolicy.MRSIGNER
    request = replace(Keyrequest.zero(), keyname=4, keypolicy=policy, isvsvn=7)
    bench.world.scratch.data[:64] = bytes(secinfo)
    bench.world.scratch.data[1024:1536] = bytes(request)
    bench.tracer.event(event)
    assert bench.lines("") == [line]


def test_a_fault_is_told_with_its_reason() -> None:
    bench = Bench()
    fault = PageFault(BASE, 0x8005, "pending")
    bench.tracer.event(LeafExecuted(42, Enclu.EENTER, BASE, 0, 0, fault=fault))
    (line,) = bench.lines("")
    assert line.endswith(f"= ? {fault}")


def rows(tracer: Tracer) -> list[list[str]]:
    out = io.StringIO()
    tracer.print_summary(out)
    head, rule, *rest = out.getvalue().splitlines()
    assert head.split() == [
        "%", "time", "seconds", "usecs/call", "calls", "errors", "what"
    ]  # fmt: skip
    assert rest[-2] == rule
    return [line.split() for line in (*rest[:-2], rest[-1])]


def test_the_table_counts_and_puts_what_took_longest_first() -> None:
    bench = Bench()
    tracer = bench.tracer
    for name, seconds, failed in (
        ("short", 0.1, False), ("long", 0.25, True), ("long", 0.25, False),
    ):  # fmt: skip
        tracer._count(name, seconds, failed=failed)
    assert rows(tracer) == [
        ["83.33", "0.500000", "250000", "2", "1", "long"],
        ["16.67", "0.100000", "100000", "1", "short"],
        ["100.00", "0.600000", "200000", "3", "1", "total"],
    ]


def test_an_empty_table_has_its_total() -> None:
    assert rows(Tracer(None)) == [["0.00", "0.000000", "0", "0", "total"]]


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, f"no room for {len(text)}")


def test_a_trace_that_cannot_be_written_does_not_stop_the_program() -> None:
    tracer = Tracer(Full())
    for _ in range(2):
        tracer.event(AsynchronousExit(42, 0, 6, 0, 0))
    tracer.print_summary(Full())
    assert rows(tracer)[0][-1] == "AEX"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (5, "5"), (1024, "1 KiB"), (3 << 20, "3 MiB"), (1 << 32, "4 GiB")],
)
def test_sizes_are_round_where_they_are(value: int, said: str) -> None:
    assert words.length(value) == said


def test_bits_without_a_name_are_not_lost() -> None:
    assert words.bits(AttributeFlags(1 << 40 | 2)) == "DEBUG|0x10000000000"
    assert words.page_type(77) == "0x4d"
    assert words.error_code(77) == "77"
    assert words.secinfo(SecinfoFlags(0xFF07)) == "{R|W|X, 0xff}"


def test_an_ioctl_that_is_to_be_made_again_says_so() -> None:
    assert words.errno_of(OSError(512, "")) == "? ERESTARTSYS (To be restarted)"
    assert words.errno_of(OSError(5, "why")) == "-1 EIO (why)"
