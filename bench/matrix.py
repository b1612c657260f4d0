"""Check the servers that everybody knows: `make matrix` asks each of them every case, and writes `docs/matrix.md`.

Knows how each server is started. The cases, the verdicts and their wording are `halloo check`'s own.
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
from halloo._check.run import Choice, check
from halloo._check.spec import ServerSpec

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

Each as its own documentation has it (`bench/textbook/`), asked by `halloo check server` at level 4. This page is
written by `make matrix`, never by hand. Some of it is chance: whether a burst of 500 meets a full queue (T24), and
whether a server that can lose bytes or stand still does so this time (T07, T08, T11, T27, T41).

{machine}, {date}.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """One server: its short name, its command, and what it needs."""

    name: str
    words: tuple[str, ...]
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Say what it lacks here, empty when it can run."""
        lacking = [module for module in self.modules if importlib.util.find_spec(module) is None]
        lacking += [program for program in self.programs if shutil.which(program) is None]
        return ", ".join(lacking)


def python(name: str, script: str, *words: str, modules: tuple[str, ...] = ()) -> Known:
    """Return a server of `bench/textbook/`."""
    return Known(name, (sys.executable, str(TEXTBOOK / script), "PORT", *words), modules)


def halloo(name: str, *words: str) -> Known:
    """Return halloo itself."""
    return Known(name, (sys.executable, "-m", "halloo", "serve", *words, "-q"))


def servers(scheme: str, built: Path) -> list[Known]:
    """Return those of a scheme; what is compiled lies in `built`."""
    xinetd = Known(
        "xinetd", (sys.executable, "-m", "bench.matrix", "--xinetd", scheme, "PORT", str(built)), (), ("xinetd",)
    )
    if scheme == "udp":
        kinds = ("plain", "small", "asyncio", "uvloop", "twisted", "gevent", "socketserver")
        return [
            halloo("halloo", "udp://PORT"),
            halloo("halloo on every address", "udp://:PORT", ":PORT"),
            *(
                Known(
                    kind,
                    (sys.executable, str(TEXTBOOK / "datagrams.py"), "PORT", kind),
                    (kind,) if kind in ("uvloop", "twisted", "gevent") else (),
                )
                for kind in kinds
            ),
            Known("Go", (str(built / "echo"), "PORT", "udp"), programs=("go",)),
            Known("C", (str(built / "udp"), "plain", "PORT")),
            Known("socat", ("socat", "-b65536", "UDP4-LISTEN:PORT,bind=127.0.0.1,fork", "PIPE"), programs=("socat",)),
            Known("ncat", ("ncat", "-u", "-l", "127.0.0.1", "PORT", "--exec", "/bin/cat"), programs=("ncat",)),
            xinetd,
        ]
    return [
        halloo("halloo", "PORT"),
        halloo("halloo, workers", "PORT", "--workers", "2"),
        Known("C epoll", (str(built / "epoll"), "PORT")),
        Known("C, careless", (str(built / "careless"), "PORT")),
        Known("Go", (str(built / "echo"), "PORT", "loop"), programs=("go",)),
        Known("Go io.Copy", (str(built / "echo"), "PORT", "copy"), programs=("go",)),
        python("uvloop Protocol", "asyncio_protocol.py", "uvloop", modules=("uvloop",)),
        python("uvloop streams", "asyncio_streams.py", "uvloop", modules=("uvloop",)),
        python("asyncio Protocol", "asyncio_protocol.py"),
        python("asyncio streams", "asyncio_streams.py"),
        python("gevent", "gevent_echo.py", modules=("gevent",)),
        python("Twisted", "twisted_echo.py", modules=("twisted",)),
        python("trio", "trio_echo.py", modules=("trio",)),
        python("socketserver", "threaded.py"),
        Known("ncat", ("ncat", "-l", "127.0.0.1", "PORT", "--keep-open", "--exec", "/bin/cat"), programs=("ncat",)),
        Known("socat", ("socat", "TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork", "EXEC:cat"), programs=("socat",)),
        xinetd,
    ]


def build(folder: Path) -> None:
    """Compile what is compiled; what cannot be is left out later, since it is not there."""
    peers = HERE / "peers"
    for source in (peers / "epoll.c", peers / "udp.c", TEXTBOOK / "careless.c"):
        subprocess.run([CC, *CFLAGS, "-o", str(folder / source.stem), str(source)], check=True)
    if shutil.which("go"):
        command = ["go", "build", "-o", str(folder / "echo"), str(TEXTBOOK / "echo.go")]
        subprocess.run(command, check=True)


def become_xinetd(scheme: str, port: str, folder: str) -> None:
    """Become xinetd with its own echo on a port, and its files in a folder."""
    udp = scheme == "udp"
    text = XINETD.format(
        kind="dgram" if udp else "stream",
        protocol="udp" if udp else "tcp",
        timeout="yes" if udp else "no",
        user=os.environ.get("USER", "root"),
        port=port,
    )
    file = Path(folder) / f"xinetd-{port}.conf"
    file.write_text(text, encoding="utf-8")
    words = ["xinetd", "-dontfork", "-f", str(file), "-pidfile", f"{file}.pid"]
    os.execvp(words[0], words)  # noqa: S606 - the very program


def main(argv: list[str] | None = None) -> int:
    """Check them all, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description=__doc__)
    parser.add_argument("--xinetd", nargs=3, metavar=("SCHEME", "PORT", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="servers whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    options = parser.parse_args(argv)
    if options.xinetd:
        become_xinetd(*options.xinetd)
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
                subject = ServerSpec(scheme=scheme, command=known.words)
                report = check(subject, Choice(level=4, jobs=options.jobs), name=known.name)
                print(f"{scheme} {known.name}: {report.counts} in {report.seconds:.0f} s", flush=True)
                reports.append(report)
            parts.append(f"\n## {scheme.upper()}\n\n{check_markdown(reports)}")
    options.output.write_text("".join(parts), encoding="utf-8")
    print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
