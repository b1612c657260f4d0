"""Signals, the same for every command: they end it, also as process 1; a second one at once; ignored ones do not."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

import psutil
import pytest

import halloo
from tests.programs import PYTHON, Terminal, listening_port, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs signals, /proc and unshare(1)")

HALLOO = (PYTHON, "-m", "halloo")
TIMEOUT = 20  # seconds
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Ignores the signal of the first argument, as nohup(1) and a shell's `&` do, and becomes the program of the others.
_IGNORING = (
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, signal.SIG_IGN if number.name == sys.argv[1] else signal.SIG_DFL)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
# Fills standard output, so that the first line that the program prints blocks it.
_BLOCKED = (
    "import os, sys\n"
    "os.set_blocking(1, False)\n"
    "try:\n"
    "    while True:\n"
    "        os.write(1, b'x' * 4096)\n"
    "except BlockingIOError:\n"
    "    os.set_blocking(1, True)\n"
    "os.execvpe(sys.argv[1], sys.argv[1:], os.environ | {'PYTHONUNBUFFERED': '1'})\n"
)
# A program that reports to a port, and stays until it is killed; check starts it.
_CONNECTS = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)"

Ready = Callable[[subprocess.Popen[bytes]], object]
Verb = Callable[[], AbstractContextManager[tuple[list[str], Ready]]]


def read_line(name: str) -> Ready:
    return lambda process: getattr(process, name).readline()


def printing(stream: str, *words: str) -> Verb:
    """Make a command that is at work once it has printed a line."""

    @contextmanager
    def verb() -> Iterator[tuple[list[str], Ready]]:
        yield [*HALLOO, *words], read_line(stream)

    return verb


@contextmanager
def pinging() -> Iterator[tuple[list[str], Ready]]:
    with halloo.Server("127.0.0.1:0") as server:
        ready = read_line("stdout")
        yield [*HALLOO, "ping", str(server.address), "-i", "10ms"], lambda process: (ready(process), ready(process))


@contextmanager
def demonstrating() -> Iterator[tuple[list[str], Ready]]:
    yield [PYTHON, "-c", _BLOCKED, *HALLOO, "demo"], wait_until_blocked


def wait_until_blocked(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program sleeps in a system call on standard output: proc_pid_syscall(5)."""
    while process.poll() is None:
        for each in (psutil.Process(process.pid), *psutil.Process(process.pid).children()):
            number_and_arguments = Path(f"/proc/{each.pid}/syscall").read_text(encoding="ascii").split()
            if number_and_arguments[1:2] == ["0x1"] and each.status() == psutil.STATUS_SLEEPING:
                return
    raise AssertionError(f"it ended with {process.returncode}")


def connecting(*words: str) -> Verb:
    """Make a command that connects to PORT, and never gets a reply."""

    @contextmanager
    def verb() -> Iterator[tuple[list[str], Ready]]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(TIMEOUT)
            accepted: list[socket.socket] = []
            port = str(listener.getsockname()[1])
            try:
                command = [*HALLOO, *(word.replace("PORT", port) for word in words)]
                yield command, lambda _: accepted.append(listener.accept()[0])
            finally:
                for client in accepted:
                    with client:  # whatever was connected has ended
                        client.settimeout(TIMEOUT)
                        while client.recv(65536):
                            pass

    return verb


UNFINISHED = 130
VERBS = {
    "serve": (printing("stdout", "serve", "127.0.0.1:0"), 0),
    "serve --workers": (printing("stdout", "serve", "127.0.0.1:0", "--workers", "2"), 0),
    "receive": (printing("stderr", "receive", "127.0.0.1:0"), UNFINISHED),
    "connect": (connecting("connect", "127.0.0.1:PORT"), UNFINISHED),
    "send": (connecting("send", "127.0.0.1:PORT"), UNFINISHED),
    "ping": (pinging, 0),
    "check server": (connecting("check", "server", "127.0.0.1:PORT"), UNFINISHED),
    "check server --": (connecting("check", "server", "--", PYTHON, "-c", _CONNECTS, "PORT", "{port}"), UNFINISHED),
    "demo": (demonstrating, UNFINISHED),
}

# Every verb and every signal, though not each with each: they have one entry.
CASES = {name: (*verb, number) for (name, verb), number in zip(VERBS.items(), cycle(STOPPING))}
OWN_HANDLERS = ("serve", "serve --workers", "connect", "ping", "check server")


@contextmanager
def running(verb: Verb, *prefix: str, ignored: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Start a command below `prefix`, and wait until it is at work."""
    with verb() as (command, ready), started(*prefix, PYTHON, "-c", _IGNORING, ignored, *command) as process:
        ready(process)
        yield process


@pytest.mark.parametrize(("verb", "code", "number"), CASES.values(), ids=CASES)
def test_a_signal_ends_a_command_also_as_process_1_of_a_container(
    verb: Verb, code: int, number: signal.Signals
) -> None:
    if without_namespaces():
        with running(verb) as process:
            process.send_signal(number)
            assert process.wait(TIMEOUT) == code
    else:
        with running(verb, *IN_NAMESPACE) as outside:
            (process_1,) = psutil.Process(outside.pid).children()
            process_1.send_signal(number)
            assert outside.wait(TIMEOUT) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_a_session_on_a_terminal(number: signal.Signals) -> None:
    with halloo.Server("127.0.0.1:0") as server, Terminal(*HALLOO, "connect", str(server.address)) as terminal:
        terminal.read_until(b"Send:")
        terminal.type("hello\n")
        terminal.read_until(b"Received 'hello'")
        terminal.read_until(b"Send:")
        terminal.wait_until_idle()
        terminal.process.send_signal(number)
        assert terminal.wait() == 0


@pytest.mark.parametrize(("verb", "code", "number"), [CASES[name] for name in OWN_HANDLERS], ids=OWN_HANDLERS)
def test_an_ignored_signal_stays_ignored(verb: Verb, code: int, number: signal.Signals) -> None:
    with running(verb, ignored=number.name) as process:
        if (
            "'check'" not in str(process.args) or number != signal.SIGINT
        ):  # which check replaces by a handler without effect
            assert ignored_signals(process.pid) == {number}
        process.send_signal(number)
        process.send_signal(signal.SIGTERM if number != signal.SIGTERM else signal.SIGINT)
        assert process.wait(TIMEOUT) == code


@pytest.mark.parametrize(("number", "options"), [(signal.SIGINT, ()), (signal.SIGHUP, ("--workers", "2"))])
def test_a_second_signal_ends_a_server_that_drains(number: signal.Signals, options: tuple[str, ...]) -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0", "--drain", "1m", *options) as process:
        place = ("127.0.0.1", listening_port(process))
        with socket.create_connection(place, TIMEOUT) as client:
            client.setblocking(False)
            with suppress(BlockingIOError):
                while client.send(b"never read" * 100_000):
                    select.select([], [client], [], 0.1)
            process.send_signal(number)
            while accepts_clients(place):
                pass
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 130


def test_a_second_signal_ends_a_ping_whose_output_is_not_read() -> None:
    with halloo.Server("127.0.0.1:0") as server:
        ping = (*HALLOO, "ping", str(server.address))
        with started(PYTHON, "-c", _BLOCKED, *ping) as process:
            wait_until_blocked(process)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 130


def accepts_clients(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, 0.1):
            return True
    except OSError:
        return False


# unshare(1): the command is process 1 of a process namespace, and ends with its parent.
IN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@cache
def without_namespaces() -> str:
    """Say why there are no namespaces; empty if there are."""
    try:
        tried = subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        return "unshare(1) is missing"
    return tried.stderr.strip() or ("not permitted" if tried.returncode else "")


def ignored_signals(pid: int) -> set[signal.Signals]:
    """Return the stop signals that a process ignores: proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return {number for number in STOPPING if mask >> (number - 1) & 1}


# Python imports it at its start: it sends SIGINT as a module is about to be imported, from there or from a finaliser,
# in which Python would print the KeyboardInterrupt and go on.
_SITE = """
import os, sys
def interrupt():
    os.kill(os.getpid(), 2)
    for _ in range(1000):
        pass
class Dying:
    def __del__(self):
        interrupt()
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_IMPORT"]:
            Dying() if os.environ["IN_FINALISER"] else interrupt()
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "finaliser"),
    [
        *(("signal", ""), ("halloo._cli.main", ""), ("halloo._client.send", "")),
        *(("typing", "1"), ("cyclopts", "1"), ("halloo._cli.client", "1")),
    ],
)
def test_an_interrupt_of_an_import_ends_a_command_quietly(tmp_path: Path, module: str, finaliser: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(_SITE)
    chosen = {"PYTHONPATH": str(tmp_path), "INTERRUPTED_IMPORT": module, "IN_FINALISER": finaliser}
    argv = [*HALLOO, "send", "127.0.0.1:1", "x"]
    done = subprocess.run(argv, env=os.environ | chosen, capture_output=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
