"""The machine as programs of this system see it under softsgx."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX, Outcome, run

pytestmark = [pytest.mark.runner, pytest.mark.slow]


def under(where: Path, *command: str, cpu: str = "full") -> Outcome:
    return run([SOFTSGX, "run", "--cpu", cpu, "--", *command], where)


def sh(where: Path, script: str, cpu: str = "full") -> str:
    outcome = under(where, "sh", "-c", script, cpu=cpu)
    assert (outcome.code, outcome.stderr) == (0, "")
    return outcome.stdout


def test_a_shell_sees_the_device(tmp_path: Path) -> None:
    script = "cd /dev; echo sgx*; test -c sgx/enclave && ls -l /dev/sgx_enclave"
    names, listing = sh(tmp_path, script).splitlines()
    assert names == "sgx sgx_enclave sgx_provision"
    assert listing.startswith("crw-rw-rw- 1 root root 10, 125 ")


def test_a_shell_sees_only_isgx_on_a_locked_processor(tmp_path: Path) -> None:
    script = (
        "echo /dev/*sgx*; test -e /dev/sgx_enclave || grep -c sgx_lc /proc/cpuinfo;"
        "ls -l /dev/isgx; cat /sys/class/misc/isgx/dev; grep -c isgx /proc/misc;"
        "readlink -f /sys/class/misc/isgx /sys/class/misc/isgx/subsystem"
    )
    outcome = under(tmp_path, "sh", "-c", script, cpu="skylake-client")
    nodes, flags, listing, *rest = outcome.stdout.splitlines()
    assert (nodes, flags) == ("/dev/isgx", "0")
    assert listing.startswith("crw-rw-rw- 1 root root 10, 124 ")
    device = "/sys/devices/platform/intel_sgx/misc/isgx"
    assert rest == ["10:124", "1", device, "/sys/class/misc"]


def test_find_goes_into_a_directory_of_ours(tmp_path: Path) -> None:
    script = "find /dev -name '*sgx*' -o -name enclave; find /dev/sgx -type l | wc -l"
    found = sh(tmp_path, script).splitlines()
    assert {"/dev/sgx", "/dev/sgx_enclave", "/dev/sgx/enclave"} <= {*found}
    assert found[-1] == "2"


def test_python_sees_the_device(tmp_path: Path) -> None:
    script = (
        "import os, stat; s = os.stat('/dev/sgx_enclave'); "
        "print(stat.S_ISCHR(s.st_mode), os.major(s.st_rdev), "
        "sorted(e.name for e in os.scandir('/dev/sgx') if e.is_symlink()), "
        "os.path.realpath('/dev/sgx/provision'), "
        "sum('sgx' in e.name for e in os.scandir('/dev')), "
        "'GenuineIntel' in open('/proc/cpuinfo').read())"
    )
    outcome = under(tmp_path, sys.executable, "-c", script)
    assert outcome.stderr == ""
    expected = "True 10 ['enclave', 'provision'] /dev/sgx_provision 3 True\n"
    assert outcome.stdout == expected


def test_a_child_sees_what_its_parent_opened(tmp_path: Path) -> None:
    script = "exec 5<>/dev/sgx_enclave; readlink /proc/self/fd/5; stat -Lc %t /dev/fd/5"
    assert sh(tmp_path, script) == "/dev/sgx_enclave\na\n"


def test_a_program_that_is_told_of_the_device_reads_its_links(tmp_path: Path) -> None:
    script = "realpath /dev/sgx/enclave; readlink /dev/sgx/provision"
    assert sh(tmp_path, script) == "/dev/sgx_enclave\n../sgx_provision\n"


def test_tools_see_the_models_processor(tmp_path: Path) -> None:
    script = "grep -m1 'model name' /proc/cpuinfo; cat < /proc/cpuinfo | wc -l"
    name, lines = sh(tmp_path, script, "icelake-server").splitlines()
    assert name == "model name\t: Intel(R) Xeon(R) Ice Lake (emulated)"
    assert int(lines) > 20


def test_nothing_is_left_in_the_file_system(tmp_path: Path) -> None:
    script = f"TMPDIR={tmp_path}; ls /dev/sgx /sys/class/misc/sgx_enclave/ >/dev/null"
    sh(tmp_path, script)
    assert not list(tmp_path.iterdir())
    assert not list(Path(tempfile.gettempdir()).glob("softsgx:*"))


def test_the_list_of_mappings_keeps_the_names_of_files(tmp_path: Path) -> None:
    name = b"\xc3\xbc\xff \xe6\xb0\xb4"
    (tmp_path / os.fsdecode(name)).write_bytes(b"x" * 4096)
    script = (
        "import ctypes, mmap, os\n"
        "enclave = os.open('/dev/sgx_enclave', os.O_RDWR)\n"
        "ctypes.CDLL(None).mmap(0, 4096, 0, 1, enclave, 0)\n"
        f"file = os.open({name!r}, os.O_RDONLY)\n"
        "too = mmap.mmap(file, 4096, mmap.MAP_SHARED, mmap.PROT_READ)\n"
        "maps = open('/proc/self/maps', 'rb').read()\n"
        f"print({name!r} in maps, b'/dev/sgx_enclave' in maps, maps.count(b'[vdso]'))"
    )
    outcome = under(tmp_path, sys.executable, "-c", script)
    assert (outcome.stdout, outcome.stderr) == ("True True 1\n", "")
