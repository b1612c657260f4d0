"""The words of the project: retired names stay retired, and texts for users are plain English."""

import ast
import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import halloo as public
from halloo import Server
from tests.command import halloo

TOP = Path(__file__).resolve().parent.parent
SOURCES = sorted((TOP / "src").rglob("*.py"))
PAGES = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]

IDENTIFIERS = {
    *("Door", "Post", "Ear", "Witness", "Conversation", "Endings", "Fleet", "Stamper", "Lane", "Openings", "Volley"),
    *("Letters", "Letterbox", "Wish", "Tally", "Probed", "Gate", "Meter", "OWING", "METERED", "RESTING", "SHAKING"),
    *("PARTING", "ORPHANING", "HEARING", "_bury", "deafen", "farewell", "hang_up"),
}
FLAGS = ("--stamp", "--spin", "--i-may-test")
PUBLIC = {
    *("serving", "Trust", "Certificates", "CutShort", "Oversized", "PortTaken", "NotLocal", "finish", "abandon"),
    *("owed_bytes", "slowest_debt_seconds"),
}
JSON_KEYS = {"held", "beyond_floor_ns"}
# Words that leave open what is meant; a text for users names the client, the worker or the kernel.
VAGUE = re.compile(r"\b(who|whoever|nobody|somebody|anybody|told)\b", re.IGNORECASE)
COMMANDS: tuple[list[str], ...] = (
    *([], ["serve"], ["connect"], ["send"], ["receive"], ["demo"], ["ping"]),
    *(["check"], ["check", "server"], ["check", "client"], ["check", "list"]),
)


def names(path: Path) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every string of a module that is no docstring; `{}` stands for what an f-string inserts."""
    nodes = nodes_of(path)
    parts = {
        part for node in nodes if isinstance(node, ast.Expr | ast.JoinedStr) for part in ast.iter_child_nodes(node)
    }
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.lineno, node.value


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every string of a module, docstrings too: help and errors are made of them."""
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def keys(value: object) -> Iterator[str]:
    """Yield the keys of a JSON value, at every depth."""
    if isinstance(value, dict):
        yield from value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(each)


def test_no_module_uses_a_retired_identifier() -> None:
    found = {path.relative_to(TOP).as_posix(): names(path) & IDENTIFIERS for path in SOURCES}
    assert {path: retired for path, retired in found.items() if retired} == {}


def test_no_source_and_no_page_names_a_retired_flag() -> None:
    flags = re.compile(rf"({'|'.join(FLAGS)})(?![\w-])")
    found = [path.name for path in (*SOURCES, *PAGES) if flags.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_no_public_name_is_a_retired_one() -> None:
    classes = [value for name in public.__all__ if inspect.isclass(value := getattr(public, name))]
    attributes = {name for each in classes for name in (*dir(each), *getattr(each, "__dataclass_fields__", ()))}
    assert (set(public.__all__) | attributes) & PUBLIC == set()


def test_the_json_of_a_ping_has_no_retired_key() -> None:
    with Server(timestamps=True) as server:
        done = halloo("ping", f"localhost:{server.address.port}", "-c", "2", "-i", "0", "--json", "-o", "-")
        report = json.loads(done.stdout)
    found = set(keys(report))
    assert "phases" in found
    assert found & JSON_KEYS == set()
    assert "name" not in report["summary"]["targets"][0]["phases"]


def test_no_help_is_vague() -> None:
    for command in COMMANDS:
        shown = halloo(*command, "--help").stdout.decode()
        assert shown
        assert VAGUE.findall(shown) == []


def test_no_text_for_users_is_vague() -> None:
    found = [
        f"{path.relative_to(TOP).as_posix()}:{line}: {vague[0]}"
        for path in SOURCES
        for line, text in texts(path)
        if (vague := VAGUE.search(text))
    ]
    assert found == []


def test_the_library_names_a_flag_only_within_a_command() -> None:
    # Whoever calls a function has arguments; the command's messages translate their names.
    flag = re.compile(r"(^|[\s(])--[a-z]|\(-[a-zA-Z]\)")
    found = [
        f"{path.relative_to(TOP).as_posix()}:{line}: {text}"
        for path in SOURCES
        if "_cli" not in path.parts
        for line, text in messages(path)
        if flag.search(text.partition("halloo ")[0])
    ]
    assert found == []
