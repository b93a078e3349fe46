"""Run one program on a platform: start it, serve it, end as it ended."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from softsgx.driver.driver import Driver
from softsgx.driver.gate import Gate
from softsgx.driver.section import add_spare
from softsgx.machine.machine import Machine
from softsgx.machine.xsave import XsaveLayout
from softsgx.native import host, lib
from softsgx.native.notify import Listener
from softsgx.platform.platform import Platform
from softsgx.runner.calls import Calls
from softsgx.runner.execs import Execs
from softsgx.runner.files import Files
from softsgx.runner.injection import Abilities, agent_config
from softsgx.runner.leaves import Leaves
from softsgx.runner.loop import Loop
from softsgx.runner.options import MASK_PF_SGX, RunOptions
from softsgx.runner.sites import Sites
from softsgx.runner.supervisor import Supervisor
from softsgx.runner.tree import Tree
from softsgx.runner.views import Views

if TYPE_CHECKING:
    from softsgx.runner.tracing import Tracer

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def run(argv: list[str], options: RunOptions) -> int:
    """Run a program; return its exit code, or die of the signal that it died of.

    OSError says why it could not be started; native.lib.NotBuilt that we are not whole.
    """
    machine = _machine(options)
    tracer = _tracer(machine, options)
    exact = options.exact or tracer is not None
    driver = Driver(machine)
    if options.platform.directory is not None:
        driver.gate = _owners_gate(options.platform)
    files = Files(driver)
    abilities = Abilities(
        fsgsbase=host.has_fsgsbase(),
        cpuid_faulting=host.has_cpuid_faulting(),
        privileged=host.may_trace_all(),
    )
    sites = Sites(driver, cpuid=not abilities.cpuid_faulting)
    leaves = Leaves(driver, exact=exact, mask_pf_sgx=MASK_PF_SGX in options.inject)
    views = Views(machine)
    calls = Calls(driver, files, views, leaves, sites, tracer)
    config = agent_config(machine, files.device, views.listed, abilities, exact=exact)
    path = _program(argv[0])
    pid, listener_fd, errors = lib.launch(path, argv, _environment())
    listener = Listener(listener_fd)
    loop = Loop(last=listener_fd)
    tree = Tree(driver, files, loop, leaves.insiders)
    execs = Execs(listener, sites, lib.Injector(config), tree.executed, _complain)
    supervisor = Supervisor(listener, loop, files, tree, calls, execs)
    child = _Child(pid, loop)
    with child.signals():
        others = supervisor.serve(child.has_ended)
    _check_started(errors, path)
    if tracer and options.counts:
        tracer.print_summary(options.trace or sys.stderr)
    if others and supervisor.has_callers():
        _serve_on(supervisor)
    return _end_like(child.wait() if child.status is None else child.status)


def _tracer(machine: Machine, options: RunOptions) -> "Tracer | None":
    if options.trace is None and not options.counts:
        return None
    from softsgx.runner.tracing import Tracer  # noqa: PLC0415 -- a run seldom needs it

    tracer = Tracer(options.trace)
    machine.trace = tracer.event
    return tracer


def _owners_gate(platform: Platform) -> Gate:
    from softsgx.runner.gate import OwnersGate  # noqa: PLC0415 -- few runs have one

    return OwnersGate(platform.policies(), _complain)


def _environment() -> list[bytes]:
    """Return the strings that we were given; Python may have added LC_CTYPE."""
    return Path("/proc/self/environ").read_bytes().split(b"\0")[:-1]


def _program(name: str) -> str:
    """Return the path of a program that is named as in a shell."""
    places = [] if "/" in name else os.get_exec_path()
    paths = (Path(place, name) for place in places)
    found = (path for path in paths if path.is_file() and os.access(path, os.X_OK))
    return str(next(found, name))


def _machine(options: RunOptions) -> Machine:
    """Return the platform's machine, its extended state as of this processor."""
    machine = options.platform.machine()
    layout = XsaveLayout(host.xsave_components())
    xfrm = machine.model.xfrm & lib.xcr0()
    machine.model = replace(machine.model, xsave=layout, xfrm=xfrm)
    machine.lay_out = lib.lay_out
    add_spare(machine)
    return machine


class _Child:
    """The program that was asked for, among the processes of the tree."""

    def __init__(self, pid: int, loop: Loop):
        self.pid = pid
        self.status: int | None = None
        self._loop = loop
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def has_ended(self) -> bool:
        """Say whether it has ended; stop with it while it is stopped."""
        return self.status is not None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Pass on what is sent to us, and hear of the child."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        for number in _OF_THE_TERMINAL:
            # The terminal sends these to the program too: it decides.
            signal.signal(number, signal.SIG_IGN)
        self._loop.on_readable(self._wake, self._look)
        self._look()
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _pass_on(self, number: int, frame: object) -> None:
        del frame
        if number != signal.SIGCHLD and self.status is None:
            os.kill(self.pid, number)

    def _look(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        status = lib.wait_child(self.pid)
        if status is None:
            return
        if os.WIFSTOPPED(status):
            # The shell waits for us: stop as the program did, go on with it.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(self.pid, signal.SIGCONT)
            return
        self.status = status

    def wait(self) -> int:
        """Wait for the end."""
        return os.waitpid(self.pid, 0)[1]


def _complain(message: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"softsgx: {message}\n")
        sys.stderr.flush()


def _serve_on(supervisor: Supervisor) -> None:
    """Go on in the background for those that the program left; the user may go on."""
    if os.fork():
        return
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    try:
        supervisor.serve(lambda: False)
    finally:
        os._exit(0)


def _check_started(pipe: int, path: str) -> None:
    """Raise the OSError of an execve that failed."""
    with os.fdopen(pipe, "rb") as file:
        os.set_blocking(file.fileno(), False)
        report = file.read(4) or b""
    if len(report) == 4:
        number = -int.from_bytes(report, "little", signed=True)
        raise OSError(number, os.strerror(number), path)


def _end_like(status: int) -> int:
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    raise OSError(errno.EINTR, f"the program died of signal {number}")
