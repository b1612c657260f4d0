"""Build and start the servers that are compared, each on its own core, and read their CPU time and memory.

Uses processes and /proc. Independent of rounds, rows and results.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SOURCES = HERE / "peers"
BUILD = HERE / "build"
LISTENING = re.compile(r"listening on \S+:(\d+)\s")
READY_SECONDS = 20
GRACE_SECONDS = 3
CC = os.environ.get("CC", "cc")
CFLAGS = ("-O2", "-Wall")
TLS_FILES = ("cert.pem", "key.pem")


class MissingError(Exception):
    """A server cannot run here; the text names what is missing."""


@dataclass(frozen=True, slots=True)
class Server:
    """One echo server: its name, its command, and what it needs before it can start."""

    name: str
    argv: tuple[str, ...]
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    max_connections: int = 1_000_000
    """The server is left out of rows with more connections: some need a process for each client."""
    tls: bool = False

    def prepare(self) -> None:
        """Build the programs; raise `MissingError` if something is not installed."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                raise MissingError(f"{self.name}: the module {module} is not installed")
        for program in self.programs:
            if shutil.which(program) is None:
                raise MissingError(f"{self.name}: {program} is not installed")
        for source in self.builds:
            build(source)


def build(source: str, *libraries: str) -> Path:
    """Compile `bench/peers/SOURCE` into `bench/build/` unless it is up to date; return the program."""
    path = SOURCES / source
    program = built(source)
    newest = max(file.stat().st_mtime for file in (path, *SOURCES.glob("*.h")))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    BUILD.mkdir(exist_ok=True)
    unfinished = program.with_name(f"{path.stem}.{os.getpid()}")  # another process may be building it too
    if path.suffix == ".go":
        command = ["go", "build", "-o", str(unfinished), str(path)]
    else:
        command = [CC, *CFLAGS, "-o", str(unfinished), str(path), *(f"-l{name}" for name in libraries)]
    if shutil.which(command[0]) is None:
        raise MissingError(f"{source}: {command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{source}: {first_error(done.stderr)}")
    unfinished.replace(program)
    return program


def built(source: str) -> Path:
    """Return the path of the program of `bench/peers/SOURCE`; `udp.c` and `udp.go` have different ones."""
    return BUILD / source.replace(".", "_")


def first_error(text: str) -> str:
    """Return the first line of compiler output that contains an error."""
    lines = text.splitlines() or ["the build failed"]
    return next((line for line in lines if "error" in line), lines[0])


def certificate() -> tuple[Path, Path]:
    """Return the certificate and key for the TLS rows; they are created once, in `bench/build/`."""
    cert, key = (BUILD / name for name in TLS_FILES)
    if not cert.exists():
        if importlib.util.find_spec("trustme") is None:
            raise MissingError("TLS: the module trustme is not installed")
        import trustme  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # an extra, for TLS rows only

        BUILD.mkdir(exist_ok=True)
        made = trustme.CA().issue_cert("localhost", "127.0.0.1")
        made.private_key_pem.write_to_path(str(key))
        made.cert_chain_pems[0].write_to_path(str(cert))
    return cert, key


def python(name: str, *arguments: str, modules: tuple[str, ...] = (), tls: bool = False) -> Server:
    """Return the server `bench/peers/FILE.py [ARGUMENTS]`, run by this interpreter."""
    script, *rest = arguments
    secrets = tuple(str(BUILD / file) for file in TLS_FILES) if tls else ()
    return Server(name, (sys.executable, str(SOURCES / script), *rest, *secrets), modules=modules, tls=tls)


def compiled(name: str, source: str, *arguments: str, programs: tuple[str, ...] = ()) -> Server:
    """Return the server built from `bench/peers/SOURCE`."""
    return Server(name, (str(built(source)), *arguments), programs=programs, builds=(source,))


def halloo(*flags: str, name: str = "halloo", scheme: str = "", host: str = "127.0.0.1") -> Server:
    """Return a `halloo serve` command from this interpreter's environment."""
    installed = Path(sys.executable).with_name("halloo")
    program = str(installed) if installed.exists() else "halloo"
    address = f"{scheme}{host}:0"
    return Server(name, (program, "serve", address, "--quiet", *flags), programs=(program,), tls=scheme == "tls://")


C = compiled("C epoll", "epoll.c")
TCP = (
    C,
    halloo(),
    python("uvloop Protocol", "asyncio_protocol.py", "uvloop", modules=("uvloop",)),
    python("uvloop streams", "asyncio_streams.py", "uvloop", modules=("uvloop",)),
    python("asyncio Protocol", "asyncio_protocol.py"),
    python("asyncio warmed up", "asyncio_protocol.py", "warm"),
    python("asyncio streams", "asyncio_streams.py"),
    compiled("Go net", "echo.go", programs=("go",)),
    python("gevent", "gevent_echo.py", modules=("gevent",)),
    python("trio", "trio_echo.py", modules=("trio",)),
    python("Twisted", "twisted_echo.py", modules=("twisted",)),
    Server(
        "socat fork", (sys.executable, str(SOURCES / "forking.py"), "socat"), programs=("socat",), max_connections=64
    ),
    Server(
        "ncat --exec", (sys.executable, str(SOURCES / "forking.py"), "ncat"), programs=("ncat",), max_connections=64
    ),
)
C_PLAIN = compiled("C recvfrom/sendto", "udp.c", "plain")
C_BATCH = compiled("C recvmmsg", "udp.c", "batch")
UDP = (
    C_PLAIN,
    C_BATCH,
    halloo(scheme="udp://"),
    python("uvloop", "asyncio_datagram.py", "uvloop", modules=("uvloop",)),
    python("asyncio", "asyncio_datagram.py"),
    python("asyncio warmed up", "asyncio_datagram.py", "warm"),
    compiled("Go net", "udp.go", programs=("go",)),
)
SOCAT_UDP = Server("socat fork", (sys.executable, str(SOURCES / "forking.py"), "socat-udp"), programs=("socat",))
TLS = (
    python("uvloop Protocol", "asyncio_protocol.py", "uvloop", modules=("uvloop",), tls=True),
    python("asyncio Protocol", "asyncio_protocol.py", "asyncio", tls=True),
    python("asyncio warmed up", "asyncio_protocol.py", "warm", tls=True),
    halloo("--cert", str(BUILD / TLS_FILES[0]), "--key", str(BUILD / TLS_FILES[1]), scheme="tls://"),
)


@dataclass(slots=True)
class Running:
    """A listening server: its process, its port, and the resources of its process tree, from /proc."""

    server: Server
    process: subprocess.Popen[str]
    port: int
    output: list[str] = field(default_factory=list)

    def tree(self) -> list[int]:
        """Return the ids of the process and its running descendants."""
        found = [self.process.pid]
        for pid in found:
            found.extend(children(pid))
        return found

    def cpu_ns(self) -> int:
        """Return the CPU time of the tree so far, including exited children."""
        return sum(cpu_ns(pid) for pid in self.tree())

    def rss(self) -> int:
        """Return the resident bytes of the tree."""
        return sum(rss(pid) for pid in self.tree())

    def descriptors(self) -> int:
        """Return the number of open descriptors of the tree."""
        return sum(entries(pid, "fd") for pid in self.tree())

    def threads(self) -> int:
        """Return the number of threads of the tree."""
        return sum(entries(pid, "task") for pid in self.tree())

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the server has not exited in time."""
        atexit.unregister(self.stop)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()


def start(server: Server, *, core: int | None = None) -> Running:
    """Start a server and wait for its listening line. It is stopped when this process exits, unless by SIGKILL."""
    server.prepare()
    signal.signal(signal.SIGTERM, exit_on_sigterm)
    with on_core(core):
        process = subprocess.Popen(
            server.argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    running = Running(server, process, 0)
    atexit.register(running.stop)  # for an exit before a `with` block holds it
    assert process.stdout is not None  # noqa: S101  # it was started with a pipe
    for line in process.stdout:
        running.output.append(line)
        if found := LISTENING.match(line):
            running.port = int(found[1])
            return running
    running.stop()
    raise MissingError(f"{server.name}: exited before it listened: {' '.join(server.argv)}")


def exit_on_sigterm(number: int, _frame: object) -> None:
    """Exit through SystemExit, so that every `with` block is left; by default SIGTERM ends the process at once."""
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt that
    sys.exit(128 + number)


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Restrict processes started in the block to one core. It is set before they start, since Go counts cores then."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def children(pid: int) -> list[int]:
    """Return the ids of the current children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(word) for word in (task / "children").read_text().split())
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of one process, its threads and its reaped children.

    Source: proc(5), /proc/PID/schedstat (nanoseconds), /proc/PID/stat (cutime and cstime, in ticks).
    """
    total = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(after_name[13]) + int(after_name[14])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return total


def entries(pid: int, folder: str) -> int:
    """Return the number of entries of a folder of /proc/PID, 0 once the process has exited."""
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())
    return 0


def rss(pid: int) -> int:
    """Return the resident bytes of one process. Source: proc(5), /proc/PID/smaps_rollup."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    return 0
