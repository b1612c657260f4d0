"""Build and start the servers that are compared, each alone on its core, and read what each costs.

Knows processes and /proc. Knows nothing of rounds, rows or results: the caller brings those.
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
    """A server cannot run here; the text says what it lacks."""


@dataclass(frozen=True, slots=True)
class Server:
    """One command that echoes: its name, its words, and what it needs before it can start."""

    name: str
    argv: tuple[str, ...]
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    most: int = 1_000_000
    """Connections beyond which it is left out of a row: a process for each client has its price."""
    tls: bool = False

    def prepare(self) -> None:
        """Build what has to be built; raise `MissingError` for what is not there."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                raise MissingError(f"{self.name}: the module {module} is not installed")
        for program in self.programs:
            if shutil.which(program) is None:
                raise MissingError(f"{self.name}: {program} is not installed")
        for source in self.builds:
            build(source)


def build(source: str, *libraries: str) -> Path:
    """Compile `bench/peers/SOURCE` into `bench/build/`, unless what is there is newer; return the program."""
    path = SOURCES / source
    program = built(source)
    newest = max(file.stat().st_mtime for file in (path, *SOURCES.glob("*.h")))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    BUILD.mkdir(exist_ok=True)
    unfinished = program.with_name(f"{path.stem}.{os.getpid()}")  # another process may be about to do the same
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
    """Return where the program made of `bench/peers/SOURCE` is: `udp.c` and `udp.go` are two."""
    return BUILD / source.replace(".", "_")


def first_error(text: str) -> str:
    """Return the line of a compiler's talk that names the trouble."""
    lines = text.splitlines() or ["it does not build"]
    return next((line for line in lines if "error" in line), lines[0])


def certificate() -> tuple[Path, Path]:
    """Return the certificate and key for the TLS rows, made once in `bench/build/`."""
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
    """Return the peer `bench/peers/FILE.py [ARGUMENTS]`, run by this interpreter."""
    script, *rest = arguments
    secrets = tuple(str(BUILD / file) for file in TLS_FILES) if tls else ()
    return Server(name, (sys.executable, str(SOURCES / script), *rest, *secrets), modules=modules, tls=tls)


def compiled(name: str, source: str, *arguments: str, programs: tuple[str, ...] = ()) -> Server:
    """Return the peer built from `bench/peers/SOURCE`."""
    return Server(name, (str(built(source)), *arguments), programs=programs, builds=(source,))


def halloo(*flags: str, name: str = "halloo", scheme: str = "", host: str = "127.0.0.1") -> Server:
    """Return halloo itself, from this interpreter's environment."""
    beside = Path(sys.executable).with_name("halloo")
    program = str(beside) if beside.exists() else "halloo"
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
    Server("socat fork", (sys.executable, str(SOURCES / "forking.py"), "socat"), programs=("socat",), most=64),
    Server("ncat --exec", (sys.executable, str(SOURCES / "forking.py"), "ncat"), programs=("ncat",), most=64),
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
    """A server that listens: its process, its port, and what /proc says of its whole tree."""

    server: Server
    process: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)

    def tree(self) -> list[int]:
        """Return the ids of the process and of everything it started that still runs."""
        found = [self.process.pid]
        for pid in found:
            found.extend(children(pid))
        return found

    def cpu_ns(self) -> int:
        """Return the CPU time of the tree so far, the children already gone included."""
        return sum(cpu_ns(pid) for pid in self.tree())

    def rss(self) -> int:
        """Return the resident bytes of the tree."""
        return sum(rss(pid) for pid in self.tree())

    def descriptors(self) -> int:
        """Return how many descriptors the tree has open."""
        return sum(entries(pid, "fd") for pid in self.tree())

    def threads(self) -> int:
        """Return how many threads the tree has."""
        return sum(entries(pid, "task") for pid in self.tree())

    def stop(self) -> None:
        """End it by id: politely, then not."""
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
        """Return itself: it has been listening since it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def start(server: Server, *, core: int | None = None) -> Running:
    """Start a server and return once it has said where it listens. It ends with us, if we are not killed."""
    server.prepare()
    signal.signal(signal.SIGTERM, leave)
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
    atexit.register(running.stop)  # for where no `with` has it yet
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    for line in process.stdout:
        running.said.append(line)
        if found := LISTENING.match(line):
            running.port = int(found[1])
            return running
    running.stop()
    raise MissingError(f"{server.name}: ended before it listened: {' '.join(server.argv)}")


def leave(number: int, _frame: object) -> None:
    """End as after ^C, every `with` being left, where SIGTERM would end us at once."""
    signal.signal(number, signal.SIG_IGN)  # another one must not break that off
    sys.exit(128 + number)


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Let what is started inside run on one core only; Go counts its cores at start, so it is set before."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def children(pid: int) -> list[int]:
    """Return the ids of a process' children now."""
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
    """Return how many entries a folder of /proc/PID has, 0 once the process is gone."""
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
