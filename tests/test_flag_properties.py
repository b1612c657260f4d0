"""An odd value of any option of any command is used, or refused in one line on standard error, in a bounded time.

The options are read from the parser: a new one is covered as it stands, with the values of its kind.
"""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from cyclopts.argument import Argument
from hypothesis import given, settings
from hypothesis import strategies as st

import halloo
from halloo._cli.main import COMMANDS, application, main
from tests.hostile import ADDRESSES
from tests.visits import VisitedOutput, odd_files

LONG = "9" * 5000
POSITIONAL = ("address", "addresses", "host")  # the names of positional parameters
TEXTS = ("", " ", "a\nb\x1b[31m{0}{place}%s\udc80", "x" * 64, "[1]", '{"a": 1}')
NUMBERS = ("", "-1", "0", "nan", "1e400", "٣", LONG, "1.5")
# By what the help shows for a value, or by the type of the parameter.
VALUES: dict[object, tuple[str, ...]] = {
    "DURATION": (*NUMBERS, "99999999999999999999h", "9999999999h", "1ns", f"{'1s' * 100}x"),
    "COUNT": (*NUMBERS, "max", "99999999999999999999"),
    "SIZE": (*NUMBERS, "max", "37", "1", "999G"),
    "RATE": (*NUMBERS, "max", "1/s", "99999999999999999999G/s"),
    "FILE": ("", "folder", "missing/x", "folder/x.gz", "binary", "empty", "certificate", "-x", "a\nb\x1b[31m\udc80"),
    "ADDRESS": ADDRESSES,
    "NETWORK": ("", "10.0.0.0/8", "10.0.0.0/33", "::1%lo", "a\nb"),
    "GOAL": ("", "p99", "p99>", "p99>5ms", f"loss>{LONG}", "corrupt>max", "\n>5\x1b"),
    "HEX": ("", "00", "00" * 32, "\n", "x" * 64),
    "MODE": ("", "0660", "888", "1777", "rw", "\n", LONG),
    "FOLDERS": ("", "folder", "*", "**", "[", "\n"),
    int: (*NUMBERS, "0x10", "65536"),
    bool: ("", "1", "no", "a\nb"),
}
# What may be in an argument (PEP 383), but in no host name, and in no path to another folder.
CHARACTERS = st.characters(exclude_categories=["L", "N", "Cs"], exclude_characters="\0./\\:_")


@dataclass(frozen=True)
class Option:
    """An option, or a positional parameter, of a command."""

    command: str
    argument: Argument

    def __str__(self) -> str:
        return f"{self.command} {self.argument.name}"

    @property
    def name(self) -> str:
        return str(self.argument.field_info.name)

    @property
    def kind(self) -> object:
        hint = self.argument.hint
        shown = "ADDRESS" if self.name in POSITIONAL else self.argument.parameter.metavar
        return next((kind for kind in (shown, hint, *get_args(hint)[:1]) if kind in VALUES), None)


def options() -> Iterator[Option]:
    for command in (*COMMANDS, "check server", "check client", "check list"):
        _, apps, _ = application(command.split()).parse_commands(command.split())
        for argument in apps[-1].assemble_argument_collection():
            if argument.name != "*":  # a group
                yield Option(command, argument)


OPTIONS = list(options())
KINDS = [option.kind for option in OPTIONS]


def values(index: int) -> tuple[str, ...]:
    """Return the values for an option, at least one: the values of a kind are dealt out among its options.

    They share the code of the kind. The verbs get all addresses in `tests.hostile`.
    """
    kind = KINDS[index]
    found, position = VALUES.get(kind, TEXTS), KINDS[:index].count(kind)
    return found[position :: KINDS.count(kind)] or (found[position % len(found)],)


@pytest.fixture(scope="module")
def certificate() -> bytes:
    trustme = pytest.importorskip("trustme")
    pem: bytes = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    return pem


@pytest.fixture
def echo() -> Iterator[halloo.Server]:  # for one test: after the last client it still has a descriptor for a moment
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0") as server:
        yield server


@pytest.fixture
def _files(certificate: bytes, tmp_path: Path) -> Iterator[None]:
    with odd_files(tmp_path, certificate):
        yield


def command_line(option: Option, echo: halloo.Server, value: str) -> list[str]:
    """Return a command that uses the option, and ends soon."""
    words, address = option.command.split(), str(echo.address)
    if option.command in ("serve", "receive"):
        address = "tcp://127.0.0.1:0"
    elif option.name in ("df", "size_sweep") or (option.command, option.name) == ("connect", "size"):
        address = str(echo.addresses[1])
    if option.name in ("cert", "key", "ca", "client_ca", "fingerprint", "insecure"):
        address = address.replace("tcp:", "tls:")
    bounds = {
        "ping": {"count": "--count=1", "interval": "--interval=0", "deadline": "--deadline=0.05"},
        "receive": {"timeout": "--timeout=0.05"},
        "check server": {"only": "--only=T99"},  # which does not exist
        "check client": {"only": "--only=C99", "command": "--command=PORT"},
    }
    words += [bound for name, bound in bounds.get(option.command, {}).items() if name != option.name]
    if option.name == "key":
        words.append("--cert=certificate")
    if option.name in ("cert", "key") and "ca" in {other.name for other in OPTIONS if other.command == option.command}:
        words.append("--ca=certificate")  # quicker to read than the system's list
    if option.name in POSITIONAL:
        return [*words, "--", value]
    words += [] if option.command == "check client" else [address]
    if option.name == "message" and not option.argument.name.startswith("-"):
        return [*words, "--", value]
    return [*words, f"{option.argument.name}={value}"]


class Output(io.TextIOWrapper):
    """Standard output for text and bytes."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)


def run(*words: str) -> tuple[int, list[str]]:
    """Run a command in this process; return its exit code, and the lines on standard error."""
    stdout = VisitedOutput(stop=True) if words[0] == "serve" else Output()
    stderr = VisitedOutput(stop=False)
    with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as caught:
        main(list(words))
    for stream in (stdout, stderr):
        if isinstance(stream, VisitedOutput):
            stream.end()
    assert isinstance(caught.value.code, int)
    return caught.value.code, stderr.getvalue().split("\n")[:-1]


def check(option: Option, echo: halloo.Server, value: str) -> None:
    words = command_line(option, echo, value)
    code, lines = run(*words)
    lines = [line for line in lines if not line.startswith(("listening on ", "halloo: --insecure: "))]
    assert code in (0, 1, 2, 3)
    assert all(line.isprintable() for line in lines)
    if code == 2:
        assert len(lines) == 1
        assert lines[0].startswith("halloo: ")


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("index", range(len(OPTIONS)), ids=lambda index: str(OPTIONS[index]))
def test_an_odd_value_is_used_or_refused_in_one_line(index: int, echo: halloo.Server) -> None:
    for value in values(index):
        check(OPTIONS[index], echo, value)


@pytest.mark.usefixtures("_files")
def test_any_text_is_used_or_refused_in_one_line(echo: halloo.Server) -> None:
    @settings(max_examples=100)
    @given(st.sampled_from(OPTIONS), st.text(CHARACTERS, min_size=1, max_size=20))
    def holds(option: Option, value: str) -> None:
        check(option, echo, value)

    holds()
