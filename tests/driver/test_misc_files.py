"""The files of the misc controller: which there are, what they say and take."""

import errno

import pytest

from softsgx.driver.epc.cgroup import NO_LIMIT
from softsgx.driver.epc.misc_files import FILES, names_of, parse_max
from tests.driver.cgroups import Tree


def test_the_root_has_a_capacity_and_no_limit() -> None:
    root = ["misc.current", "misc.peak", "misc.capacity"]
    assert names_of(is_root=True) == root
    assert names_of(is_root=False) == [
        "misc.max",
        "misc.current",
        "misc.peak",
        "misc.events",
        "misc.events.local",
    ]


def test_what_they_say() -> None:
    tree = Tree()
    tree.make("/a/b")
    cgroup = tree.cgroups.find("/a")

    def says() -> list[str]:
        return [file.text(cgroup, 1 << 20) for file in FILES.values()]

    assert says() == [
        "sgx_epc max\n",
        "sgx_epc 0\n",
        "sgx_epc 0\n",
        "sgx_epc.max 0\n",
        "sgx_epc.max 0\n",
        "sgx_epc 1048576\n",
    ]
    cgroup.max = 3 * 4096 + 5
    tree.enter("/a/b")
    tree.cgroups.charge(7, 3, listed=True)
    tree.cgroups.uncharge(8, 1)
    cgroup.meet_limit()
    tree.cgroups.find("/a/b").meet_limit()
    assert says() == [
        "sgx_epc 12293\n",
        "sgx_epc 8192\n",
        "sgx_epc 12288\n",
        "sgx_epc.max 2\n",
        "sgx_epc.max 1\n",
        "sgx_epc 1048576\n",
    ]


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        (b"sgx_epc 16777216\n", 16777216),
        (b"sgx_epc 5", 5),
        (b"  sgx_epc 5 \n\n", 5),
        (b"sgx_epc +0x10", 16),
        (b"sgx_epc 0XfF", 255),
        (b"sgx_epc 017", 15),
        (b"sgx_epc 0", 0),
        (b"sgx_epc max\n", NO_LIMIT),
        (b"sgx_epc 18446744073709551615", NO_LIMIT),
        (b"sgx_epc 5\0 6", 5),
    ],
)
def test_a_limit_is_written_as_the_kernel_reads_numbers(
    written: bytes, limit: int
) -> None:
    assert parse_max(written) == (b"sgx_epc", limit)


def test_of_another_resource_the_name_is_told() -> None:
    assert parse_max(b"sev_es 3\n") == (b"sev_es", 3)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (b"", errno.EINVAL),
        (b"\n", errno.EINVAL),
        (b"sgx_epc", errno.EINVAL),
        (b"sgx_epc\n", errno.EINVAL),
        (b"sgx_epc\t5", errno.EINVAL),
        (b"sgx_epc  5", errno.EINVAL),
        (b"sgx_epc -1", errno.EINVAL),
        (b"sgx_epc 16M", errno.EINVAL),
        (b"sgx_epc 0x", errno.EINVAL),
        (b"sgx_epc 08", errno.EINVAL),
        (b"sgx_epc 5 6", errno.EINVAL),
        (b"sgx_epc MAX", errno.EINVAL),
        (b"sgx_epc 18446744073709551616", errno.ERANGE),
        (b"sgx_epc " + b"9" * 4088, errno.ERANGE),
        (b"sgx_epc " + b"9" * 4089, errno.E2BIG),
    ],
)
def test_what_is_no_limit_is_refused(written: bytes, number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        parse_max(written)
    assert caught.value.errno == number
