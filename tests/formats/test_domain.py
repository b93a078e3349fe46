"""Guests as libvirt and QEMU write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.formats.domain import (
    Domain,
    libvirt_elements,
    qemu_options,
    read_domain,
)
from softsgx.formats.image import FormatError

MIB = 1 << 20


def domain(memory: str, cpu: str = "", name: str = "<name>one</name>") -> bytes:
    text = f"<domain type='kvm'>{name}{cpu}<devices>{memory}</devices></domain>"
    return text.encode()


def epc(size: str) -> str:
    return f"<memory model='sgx-epc'><target>{size}</target></memory>"


GOOD = epc("<size unit='KiB'>16384</size>")


def test_a_whole_domain() -> None:
    other = "<memory model='dimm'><target><size unit='MiB'>9</size></target></memory>"
    source = GOOD.replace(
        "<target>", "<source><nodemask>0-1</nodemask></source><target>"
    )
    cpu = (
        "<cpu mode='host-model'><feature policy='require' name='sgx-provisionkey'/>"
        "<feature name='vmx'/><feature policy='disable' name='sgxlc'/></cpu>"
    )
    assert read_domain(domain(other + source, cpu)) == Domain(
        name="one", epc_bytes=16 * MIB, provisioning=True, has_lc=False
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("<size>16384</size>", 16 * MIB),
        ("<size unit='MiB'>64</size>", 64 * MIB),
        ("<size unit='M'>64</size>", 64 * MIB),
        ("<size unit='MB'>64</size>", 64_000_000),
        ("<size unit='GiB'> 2 </size>", 2048 * MIB),
        ("<size unit='T'>1</size>", 1 << 40),
        ("<size unit='b'>4096</size>", 4096),
        ("<size unit='bytes'>4096</size>", 4096),
    ],
)
def test_sizes_have_units(size: str, expected: int) -> None:
    assert read_domain(domain(epc(size))).epc_bytes == expected


@pytest.mark.parametrize(
    ("feature", "provisioning", "has_lc"),
    [
        ("", False, True),
        ("<feature name='sgx-provisionkey'/>", True, True),
        ("<feature policy='force' name='sgx-provisionkey'/>", True, True),
        ("<feature policy='optional' name='sgx-provisionkey'/>", False, True),
        ("<feature policy='disable' name='sgx-provisionkey'/>", False, True),
        ("<feature policy='forbid' name='sgxlc'/>", False, False),
        ("<feature policy='require' name='sgxlc'/>", False, True),
    ],
)
def test_features(feature: str, *, provisioning: bool, has_lc: bool) -> None:
    found = read_domain(domain(GOOD, f"<cpu>{feature}</cpu>"))
    assert (found.provisioning, found.has_lc) == (provisioning, has_lc)


BOMB = b"<!DOCTYPE a [<!ENTITY x 'y'>]><domain>&x;</domain>"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"<domain", "not XML that can be trusted: unclosed token"),
        (BOMB, "not XML that can be trusted: DTDForbidden"),
        (b"<network/>", "<network> is no <domain>"),
        (domain(""), "0 elements <memory model='sgx-epc'>, and a guest here has one"),
        (domain(GOOD + GOOD), "2 elements <memory model='sgx-epc'>, and a guest here"),
        (domain(epc("")), "the EPC has no <target><size>"),
        (domain(epc("<size unit='x'>1</size>")), "<size unit='x'>1</size> is no size"),
        (domain(epc("<size>-1</size>")), "<size unit='KiB'>-1</size> is no size"),
        (domain(epc("<size/>")), "<size unit='KiB'></size> is no size of memory"),
        (domain(epc(f"<size>{'9' * 19}</size>")), "is no size of memory"),
    ],
)
def test_what_is_wrong_is_one_line(raw: bytes, why: str) -> None:
    with pytest.raises(FormatError) as refusal:
        read_domain(raw)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_options_of_qemu() -> None:
    plain = Domain(name="one", epc_bytes=64 * MIB)
    memory = "-object memory-backend-epc,id=mem1,size=65536K,prealloc=on"
    machine = "-M sgx-epc.0.memdev=mem1,sgx-epc.0.node=0"
    assert qemu_options(plain) == f"-cpu host {memory} {machine}"
    most = Domain(name="one", epc_bytes=64 * MIB, provisioning=True, has_lc=False)
    cpu = "-cpu host,+sgx-provisionkey,-sgxlc"
    assert qemu_options(most) == f"{cpu} {memory} {machine}"


@given(
    st.builds(
        Domain,
        name=st.just("one"),
        epc_bytes=st.integers(1, 1 << 28).map(lambda pages: pages << 12),
        provisioning=st.booleans(),
        has_lc=st.booleans(),
    )
)
def test_what_is_written_is_read_again(written: Domain) -> None:
    memory, cpu, end = libvirt_elements(written).partition("<cpu")
    assert read_domain(domain(memory, cpu + end)) == written
