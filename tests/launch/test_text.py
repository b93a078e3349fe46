"""The policy's file: what it may say, and how mistakes are named."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.launch.entry import Entries, Entry
from softsgx.launch.guests import GuestRules, WhoseLists
from softsgx.launch.memory import MemoryRules, Setting
from softsgx.launch.policy import MAX_ENTRIES, Edition, ListName, Mode, Policy
from softsgx.launch.text import PolicyError, decode_policy, encode_policy

HEX = "ab" * 32

WHOLE = f"""\
version = 1
serial = 7
platform = "softsgx-0123"
edition = "v41"
mode = "audit"

[memory]
execunmr = "enforce"

[[signing]]
mrsigner = "{HEX}"
mrenclave = "{"CD" * 32}"
isvprodid = 3
min_isvsvn = 2
debug = false
expires = 2030-12-31
comment = 'Alice\\s "own"'

[[signing]]
mrsigner = "{HEX}"

[[provisioning]]
mrsigner = "{HEX}"
"""


def test_everything_that_it_can_say() -> None:
    policy = decode_policy(WHOLE.encode())
    alice = Entry(
        mrsigner=b"\xab" * 32,
        mrenclave=b"\xcd" * 32,
        isvprodid=3,
        min_isvsvn=2,
        debug=False,
        expires=date(2030, 12, 31),
        comment='Alice\\s "own"',
    )
    plain = Entry(mrsigner=b"\xab" * 32)
    assert policy == Policy(
        serial=7,
        platform="softsgx-0123",
        edition=Edition.V41,
        mode=Mode.AUDIT,
        lists={
            ListName.SIGNING: Entries((alice, plain)),
            ListName.LAUNCH: Entries(),
            ListName.PROVISIONING: Entries((plain,)),
            ListName.DYNAMIC: Entries(),
        },
        memory=MemoryRules(execunmr=Setting.ENFORCE),
    )


def test_the_least_is_stock_linux() -> None:
    assert decode_policy(b"version = 1\n") == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: version is missing"),
        ("version = 2", "line 1: version: this softsgx reads version 1, not 2"),
        ("version = true", "line 1: version: this softsgx reads version 1, not True"),
        ("version = 1\n[[signing]\n", "line 2: not TOML: Expected ']]'"),
        ("version = 1\nsignings = []", "line 2: signings: no such key in a policy"),
        ("version = 1\n[[signing]]\n", "line 2: signing[0]: mrsigner is missing"),
        ("version = 1\n[memory]\nmapx=''", "line 3: memory.mapx: no such key"),
        ("version = 1\n[guests.a]\nx = 1", "line 3: guests.a.x: no such key"),
        ("version = 1\n[guests.'a.b']\nx = 1", "line 3: guests.a.b.x: no such key"),
        (
            "version = 1\n[guests.a]\n[guests.b]\nlaunch = 'own'",
            "line 4: guests.b.launch: one of host, guest is expected, not 'own'",
        ),
        ("version = 1\n[guests.a]\nprovisioning = 1", "line 3: guests.a.provisioning:"),
        ("version = 1\n[guests.'-']", "line 2: guests.-: a table [guests.NAME] of a"),
        ("version = 1\n[guests]\na = 3", "line 3: guests.a: a table [guests.NAME]"),
    ],
)
def test_a_mistake_is_named_by_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        decode_policy(text.encode())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mode = 'off'", "mode: one of enforce, audit is expected, not 'off'"),
        ("mode = ['off']", "mode: one of enforce, audit is expected, not ['off']"),
        ("signing = 3", "signing: entries, each under [[...]], are expected, not 3"),
        ("memory = 3", "memory: a table is expected, not 3"),
        ("serial = -1", f"serial: a number from 0 to {2**63 - 1} is expected, not -1"),
        ("platform = 1", "platform: a string of one line is expected, not 1"),
    ],
)
def test_a_wrong_value_is_named(line: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        decode_policy(f"version = 1\n{line}".encode())
    assert str(caught.value) == f"line 2: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mrsignr = 1", "mrsignr: no such key in a policy"),
        ("mrenclave = 'zz'", "mrenclave: 64 hex digits are expected, not 'zz'"),
        ("isvprodid = 65536", "isvprodid: a number from 0 to 65535 is expected"),
        ("min_isvsvn = true", "min_isvsvn: a number from 0 to 65535 is expected"),
        ("debug = 0", "debug: true or false is expected, not 0"),
        ("expires = '2030'", "expires: a day such as 2030-12-31 is expected"),
        ("expires = 2030-12-31T00:00:00", "expires: a day such as 2030-12-31 is"),
        ('comment = "a\\nb"', "comment: a string of one line is expected"),
    ],
)
def test_a_wrong_value_in_an_entry_is_named(line: str, message: str) -> None:
    plain = f"[[launch]]\nmrsigner = '{HEX}'\n"
    text = f"version = 1\n{plain}\n{plain}{line}\n{plain}"
    with pytest.raises(PolicyError) as caught:
        decode_policy(text.encode())
    assert str(caught.value).startswith(f"line 7: launch[1].{message}")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(PolicyError, match="line 2: not UTF-8"):
        decode_policy(b"version = 1\ncomment = '\xff'")


def test_what_is_nested_too_deep() -> None:
    with pytest.raises(PolicyError, match="nested too deep"):
        decode_policy(b"version = " + b"[" * 100_000)


def test_a_list_with_a_million_lines_is_refused_at_once() -> None:
    lines = b"version = 1\nsigning = [" + b"{}," * (MAX_ENTRIES + 1) + b"]"
    with pytest.raises(PolicyError, match=f"at most {MAX_ENTRIES}"):
        decode_policy(lines)
    with pytest.raises(PolicyError, match="are read"):
        decode_policy(b"#" * (33 << 20))


@given(st.integers(0, len(WHOLE)))
def test_a_truncated_file_is_a_policy_or_one_mistake(size: int) -> None:
    line = 1
    try:
        decode_policy(WHOLE[:size].encode())
    except PolicyError as error:
        line = error.line
    assert 1 <= line <= WHOLE.count("\n") + 1


HASHES = st.binary(min_size=32, max_size=32)
LINES = st.text().filter(str.isprintable)
ENTRIES = st.builds(
    Entry,
    mrsigner=HASHES,
    mrenclave=st.none() | HASHES,
    isvprodid=st.none() | st.integers(0, 0xFFFF),
    min_isvsvn=st.integers(0, 0xFFFF),
    debug=st.booleans(),
    expires=st.none() | st.dates(),
    comment=LINES,
)
POLICIES = st.builds(
    Policy,
    serial=st.integers(0, (1 << 63) - 1),
    platform=LINES,
    edition=st.sampled_from(Edition),
    mode=st.sampled_from(Mode),
    lists=st.fixed_dictionaries(
        {
            name: st.lists(ENTRIES, max_size=3).map(tuple).map(Entries)
            for name in ListName
        }
    ),
    memory=st.builds(
        MemoryRules,
        **{name: st.sampled_from(Setting) for name in MemoryRules.__annotations__},
    ),
)


@given(POLICIES)
def test_what_is_written_reads_the_same(policy: Policy) -> None:
    assert decode_policy(encode_policy(policy)) == policy


def test_leave_for_guests_is_read_as_it_was_written() -> None:
    rules = {
        "one": GuestRules(provisioning=True),
        "a.b": GuestRules(launch=WhoseLists.GUEST),
        "c": GuestRules(oversubscribe=True),
    }
    policy = Policy(guests=rules)
    assert decode_policy(encode_policy(policy)) == policy
    assert policy.guest("one").provisioning
    assert policy.guest("another") == GuestRules()
    short = decode_policy(b"version = 1\n[guests.one]\n")
    assert short.guests == {"one": GuestRules()}
