"""Check well-known echo servers: `make matrix` runs every case against each of them, and writes `docs/matrix.md`.

This module holds the command of each server. The cases, the verdicts and their texts are those of `halloo check`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import machine
from bench.servers import CC, CFLAGS
from halloo._check.report.markdown import check_markdown
from halloo._check.spec import ServerSpec
from halloo._cli.check import Choice

HERE = Path(__file__).parent
TEXTBOOK = HERE / "textbook"
PAGE = HERE.parent / "docs" / "matrix.md"
XINETD = """
service echo
{{
    type = INTERNAL UNLISTED
    id = echo-{kind}
    socket_type = {kind}
    protocol = {protocol}
    wait = {wait}
    user = {user}
    port = {port}
    bind = 127.0.0.1
    instances = UNLIMITED
    cps = 100000 1
    per_source = UNLIMITED
}}
"""
INTRODUCTION = """# Well-known echo servers, checked

Each server is written as in its own documentation (`bench/textbook/`), and checked by `halloo check server` at level 4.
`make matrix` writes this page; do not edit it. Some results vary from run to run: whether a burst of 500 connections
meets a full queue (T24), and whether a server that can lose bytes or stall does so (T07, T08, T11, T27, T41).

{machine}, {date}.
"""


@dataclass(frozen=True, slots=True)
class KnownServer:
    """One server: its short name, its command, and the modules and programs that it needs."""

    name: str
    command: tuple[str, ...]
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """The modules and programs that are not installed, separated by commas; empty when the server can run."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        missing += [program for program in self.programs if shutil.which(program) is None]
        return ", ".join(missing)


def python(name: str, script: str, *arguments: str, modules: tuple[str, ...] = ()) -> KnownServer:
    """Return the server in a script of `bench/textbook/`."""
    return KnownServer(name, (sys.executable, str(TEXTBOOK / script), "PORT", *arguments), modules)


def halloo(name: str, *arguments: str) -> KnownServer:
    """Return a `halloo serve` command."""
    return KnownServer(name, (sys.executable, "-m", "halloo", "serve", *arguments, "-q"))


def servers(scheme: str, built: Path) -> list[KnownServer]:
    """Return the servers of a scheme; `built` is the folder of the compiled ones."""
    xinetd = KnownServer(
        "xinetd", (sys.executable, "-m", "bench.matrix", "--xinetd", scheme, "PORT", str(built)), (), ("xinetd",)
    )
    if scheme == "udp":
        kinds = ("plain", "small", "asyncio", "uvloop", "twisted", "gevent", "socketserver")
        return [
            halloo("halloo", "udp://PORT"),
            halloo("halloo on every address", "udp://:PORT", ":PORT"),
            *(
                KnownServer(
                    kind,
                    (sys.executable, str(TEXTBOOK / "datagrams.py"), "PORT", kind),
                    (kind,) if kind in ("uvloop", "twisted", "gevent") else (),
                )
                for kind in kinds
            ),
            KnownServer("Go", (str(built / "echo"), "PORT", "udp"), programs=("go",)),
            KnownServer("C", (str(built / "udp"), "plain", "PORT")),
            KnownServer(
                "socat", ("socat", "-b65536", "UDP4-LISTEN:PORT,bind=127.0.0.1,fork", "PIPE"), programs=("socat",)
            ),
            KnownServer("ncat", ("ncat", "-u", "-l", "127.0.0.1", "PORT", "--exec", "/bin/cat"), programs=("ncat",)),
            xinetd,
        ]
    return [
        halloo("halloo", "PORT"),
        halloo("halloo, workers", "PORT", "--workers", "2"),
        KnownServer("C epoll", (str(built / "epoll"), "PORT")),
        KnownServer("C, careless", (str(built / "careless"), "PORT")),
        KnownServer("Go", (str(built / "echo"), "PORT", "loop"), programs=("go",)),
        KnownServer("Go io.Copy", (str(built / "echo"), "PORT", "copy"), programs=("go",)),
        python("uvloop Protocol", "asyncio_protocol.py", "uvloop", modules=("uvloop",)),
        python("uvloop streams", "asyncio_streams.py", "uvloop", modules=("uvloop",)),
        python("asyncio Protocol", "asyncio_protocol.py"),
        python("asyncio streams", "asyncio_streams.py"),
        python("gevent", "gevent_echo.py", modules=("gevent",)),
        python("Twisted", "twisted_echo.py", modules=("twisted",)),
        python("trio", "trio_echo.py", modules=("trio",)),
        python("socketserver", "threaded.py"),
        KnownServer(
            "ncat", ("ncat", "-l", "127.0.0.1", "PORT", "--keep-open", "--exec", "/bin/cat"), programs=("ncat",)
        ),
        KnownServer(
            "socat", ("socat", "TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork", "EXEC:cat"), programs=("socat",)
        ),
        xinetd,
    ]


def build(folder: Path) -> None:
    """Compile the C servers, and the Go server where Go is installed."""
    peers = HERE / "peers"
    for source in (peers / "epoll.c", peers / "udp.c", TEXTBOOK / "careless.c"):
        subprocess.run([CC, *CFLAGS, "-o", str(folder / source.stem), str(source)], check=True)
    if shutil.which("go"):
        command = ["go", "build", "-o", str(folder / "echo"), str(TEXTBOOK / "echo.go")]
        subprocess.run(command, check=True)


def exec_xinetd(scheme: str, port: str, folder: str) -> None:
    """Replace this process by xinetd with its built-in echo on a port; its files go into a folder."""
    udp = scheme == "udp"
    text = XINETD.format(
        kind="dgram" if udp else "stream",
        protocol="udp" if udp else "tcp",
        wait="yes" if udp else "no",
        user=os.environ.get("USER", "root"),
        port=port,
    )
    file = Path(folder) / f"xinetd-{port}.conf"
    file.write_text(text, encoding="utf-8")
    command = ["xinetd", "-dontfork", "-f", str(file), "-pidfile", f"{file}.pid"]
    os.execvp(command[0], command)  # noqa: S606 - no shell is needed


def main(argv: list[str] | None = None) -> int:
    """Check all servers, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description=__doc__)
    parser.add_argument("--xinetd", nargs=3, metavar=("SCHEME", "PORT", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="only servers whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    options = parser.parse_args(argv)
    if options.xinetd:
        exec_xinetd(*options.xinetd)
    date = datetime.now(UTC).strftime("%d %B %Y")
    parts = [INTRODUCTION.format(machine=f"{machine()}, {platform.system()}", date=date)]
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        for scheme in ("tcp", "udp"):
            reports = []
            for known in servers(scheme, Path(folder)):
                if options.only not in known.name:
                    continue
                if known.missing:
                    print(f"left out: {known.name} ({known.missing} is not installed)", file=sys.stderr)
                    continue
                spec = ServerSpec(scheme=scheme, command=known.command)
                report = Choice(level=4, jobs=options.jobs).check(spec, name=known.name)
                print(f"{scheme} {known.name}: {report.counts} in {report.seconds:.0f} s", flush=True)
                reports.append(report)
            parts.append(f"\n## {scheme.upper()}\n\n{check_markdown(reports)}")
    options.output.write_text("".join(parts), encoding="utf-8")
    print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
