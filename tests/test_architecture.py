"""The architecture as facts: which way imports point, how long a room may grow, what it says at its door.

First the lists that a change may have to amend, then the facts, then the rules behind them: each finds its offenders in
a tree of files. At the end every rule is shown a small invented tree that breaks it.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import halloo

TOP = Path(__file__).resolve().parent.parent
SRC = TOP / "src"

# From the bottom to the top. A module imports from its own room and from the layers below, never from above.
LAYERS = (
    ("errors",),
    ("core",),
    ("net",),
    ("commands", "check", "report", "web"),
    ("cli", "testing", "pytest_plugin", "__main__"),
)
# Rooms of one layer do not know each other, these apart.
NEIGHBOURS = {
    ("commands", "report"): "a command ends in a report, and shows it as text, JSON or HTML",
    ("commands", "check"): "`halloo check` chooses the cases, runs them and ends in their report",
    ("report", "check"): "a check's report is told as text, JSON, HTML and what graders and CI systems read",
    ("pytest_plugin", "testing"): "the fixtures are the public test functions, ready made",
    ("__main__", "cli"): "`python -m halloo` is the command",
}
# What `core` must not know: input and output, clocks, chance, processes, the interpreter that it runs in.
OUTSIDE_WORLD = {
    *("asyncio", "fcntl", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil"),
    *("signal", "socket", "socketserver", "ssl", "subprocess", "sys", "tempfile", "threading"),
    *("random", "secrets", "time", "uuid"),
}
# What only these may use: a checker has sockets of its own, so as not to share the mistakes of what it checks.
MECHANICS = ("net", "check")
MECHANISM = {"socket", "select", "selectors", "signal", "threading", "subprocess", "fcntl", "mmap"}
# Rooms whose tests are named after their modules: every test has its module, and in the last two every module its test.
MIRRORED = ("cli", "commands", "core", "net")
TESTED = ("core", "net")

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40

PUBLIC = [
    *("client", "connect", "listen", "ping", "serve", "server", "serving"),
    *("Address", "Certificates", "Connection", "Limits", "Listener", "PingReport", "Server", "Snapshot", "Trust"),
    *("HallooError", "LocalError", "PeerError", "UsageError"),
]

# What a rule finds fault with, word for word, and why it may stay.
EXCEPTIONS = {
    "halloo.net.serving.tcp:turn has more than 40 lines": "the hot loop: calls would cost a tenth of the speed",
    "halloo.net.serving.udp:hear has more than 40 lines": "the hot loop of datagrams, for the same reason",
    "net.serving.roles has no tests of its own": "it names shapes only; those who have them are tested",
    "halloo.cli.main imports signal": "the exit code of an interrupted command is made of SIGINT's number",
    "halloo.commands.serve imports socket": "server(s) takes the caller's own socket; only its type is named",
}


# The facts.


def test_every_module_has_its_layer() -> None:
    nobody_breaks(homeless)


def test_imports_point_downwards_only() -> None:
    nobody_breaks(upward)


def test_rooms_of_one_layer_do_not_know_each_other() -> None:
    nobody_breaks(sideways)


def test_no_imports_go_round_in_a_circle() -> None:
    nobody_breaks(circular)


def test_core_knows_nothing_of_the_outside_world() -> None:
    nobody_breaks(worldly)


def test_only_net_and_check_use_the_mechanisms_of_the_system() -> None:
    nobody_breaks(mechanical)


def test_files_stay_short() -> None:
    nobody_breaks(long_files)


def test_functions_stay_short() -> None:
    nobody_breaks(long_functions)


def test_every_module_and_public_name_has_a_docstring() -> None:
    nobody_breaks(undocumented)


def test_every_test_of_a_room_is_named_after_its_module() -> None:
    nobody_breaks(stray_tests)


def test_every_module_of_core_and_net_has_its_own_tests() -> None:
    nobody_breaks(untested)


def test_no_test_sleeps_or_mocks() -> None:
    nobody_breaks(impatient)


def test_every_exception_is_still_needed() -> None:
    assert unneeded(EXCEPTIONS, TOP) == []


def test_the_public_names_are_these() -> None:
    assert sorted(halloo.__all__) == sorted(PUBLIC)


def test_the_public_names_are_few() -> None:
    assert len(PUBLIC) <= 20


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_fetched_and_explains_itself(name: str) -> None:
    assert getattr(halloo, name).__doc__


def test_importing_halloo_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import halloo; print(*set(sys.modules) - before)"
    path = os.environ | {"PYTHONPATH": str(SRC)}
    run = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    assert {name for name in run.stdout.split() if top(name) not in sys.stdlib_module_names} == {"halloo"}


# The files, parsed.


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name, such as `halloo.core.units.parse`, and the `module` that has it, `halloo.core.units`."""

    name: str
    module: str
    for_types: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One file, named as Python names it."""

    name: str
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room(self.name)


def top(name: str) -> str:
    return name.partition(".")[0]


def room(name: str) -> str:
    """Take `core` out of `halloo.core.units`; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


def layer(name: str) -> int:
    """Count the layers below a module. The package itself is of the top one: it gathers names from everywhere."""
    homes = (number for number, rooms in enumerate(LAYERS) if room(name) in rooms)
    return next(homes, len(LAYERS) if room(name) else len(LAYERS) - 1)


@cache
def read(folder: Path) -> tuple[Module, ...]:
    """Parse all files under a folder."""
    paths = {named(folder, path): path for path in sorted(folder.rglob("*.py"))}
    return tuple(parsed(name, path, paths) for name, path in paths.items())


def named(folder: Path, path: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(name: str, path: Path, known: Collection[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path))
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    return Module(name, text, tree, tuple(imports(tree, package, known)))


def imports(tree: ast.Module, package: list[str], known: Collection[str]) -> Iterator[Import]:
    """Find every import, in functions and under TYPE_CHECKING too."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    for_types = {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            start += [node.module] if node.module else []
            names = [".".join([*start, alias.name]) for alias in node.names]
        else:
            continue
        yield from (Import(name, within(name, known), node in for_types) for name in names)


def within(name: str, known: Collection[str]) -> str:
    """Give the module that a name is in, or is."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), name)


# The rules.


def nobody_breaks(rule: Callable[[Path], list[str]]) -> None:
    offenders = [offender for offender in rule(TOP) if offender not in EXCEPTIONS]
    assert not offenders, "\n".join(offenders)


def unneeded(exceptions: Collection[str], house: Path) -> list[str]:
    found = {offender for rule in RULES for offender in rule(house)}
    return [f"no longer true: {exception}" for exception in exceptions if exception not in found]


def inner_imports(house: Path) -> Iterator[tuple[Module, Import]]:
    """Pair modules with what they import of halloo. The package itself is left out: it fetches names when asked."""
    for module in read(house / "src"):
        yield from ((module, each) for each in module.imports if top(each.name) == "halloo" and module.room)


def homeless(house: Path) -> list[str]:
    return [f"{m.name} is in no layer" for m in read(house / "src") if layer(m.name) == len(LAYERS)]


def upward(house: Path) -> list[str]:
    pairs = inner_imports(house)
    return [f"{m.name} imports {i.module}, above it" for m, i in pairs if layer(i.module) > layer(m.name)]


def sideways(house: Path) -> list[str]:
    return [
        f"{m.name} imports {i.module}, beside it"
        for m, i in inner_imports(house)
        if layer(i.module) == layer(m.name)
        and room(i.module) not in ("", m.room)
        and (m.room, room(i.module)) not in NEIGHBOURS
    ]


def circular(house: Path) -> list[str]:
    graph: dict[str, set[str]] = {module.name: set() for module in read(house / "src")}
    for module, each in inner_imports(house):
        if not each.for_types:
            graph[module.name].add(each.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def worldly(house: Path) -> list[str]:
    core = [module for module in read(house / "src") if module.room in {"errors", "core"}]
    return [
        f"{m.name} imports {i.name}"
        for m in core
        for i in m.imports
        if top(i.name) in OUTSIDE_WORLD or top(i.name) not in sys.stdlib_module_names | {"halloo"}
    ] + [
        f"{m.name} calls {node.func.id}"
        for m in core
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"input", "open", "print"}
    ]


def mechanical(house: Path) -> list[str]:
    others = [module for module in read(house / "src") if module.room not in MECHANICS]
    return [f"{m.name} imports {i.name}" for m in others for i in m.imports if top(i.name) in MECHANISM]


def long_files(house: Path) -> list[str]:
    long = [m.name for m in read(house / "src") if len(m.text.splitlines()) > LINES_OF_A_FILE]
    return [f"{name} has more than {LINES_OF_A_FILE} lines" for name in long]


def long_functions(house: Path) -> list[str]:
    return [
        f"{m.name}:{node.name} has more than {LINES_OF_A_FUNCTION} lines"
        for m in read(house / "src")
        for node in ast.walk(m.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if lines_of_code(node, m.text.splitlines()) > LINES_OF_A_FUNCTION
    ]


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Count the lines of the body, without the docstring, comments and blank lines."""
    body = node.body if ast.get_docstring(node) is None else node.body[1:]
    texts = [line.strip() for line in lines[body[0].lineno - 1 : node.end_lineno]] if body else []
    return sum(1 for text in texts if text and not text.startswith("#"))


def undocumented(house: Path) -> list[str]:
    modules = read(house / "src")
    return [f"{m.name} has no charter" for m in modules if not ast.get_docstring(m.tree)] + [
        f"{m.name}:{node.name} has no docstring"
        for m in modules
        for node in m.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]


def mirrored(names: Iterator[str]) -> set[str]:
    """Keep what is in a mirrored room, as `core.units`."""
    return {name for name in names if top(name) in MIRRORED and "." in name}


def subjects(house: Path) -> set[str]:
    names = [m.name for m in read(house / "src")]
    folders = {name.rpartition(".")[0] for name in names}
    return mirrored(name.removeprefix("halloo.") for name in names if name not in folders)


def covered(house: Path) -> set[str]:
    return mirrored(m.name.replace(".test_", ".") for m in read(house / "tests") if ".test_" in m.name)


def stray_tests(house: Path) -> list[str]:
    return [f"{name} is tested, but is no module" for name in sorted(covered(house) - subjects(house))]


def untested(house: Path) -> list[str]:
    bare = sorted(subjects(house) - covered(house))
    return [f"{name} has no tests of its own" for name in bare if top(name) in TESTED]


def impatient(house: Path) -> list[str]:
    tests = read(house / "tests")
    return [
        f"{m.name} uses sleep"
        for m in tests
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ] + [f"{m.name} imports {i.name}" for m in tests for i in m.imports if {"mock", "sleep"} & {*i.name.split(".")}]


RULES = (
    *(homeless, upward, sideways, circular, worldly, mechanical, long_files, long_functions, undocumented),
    *(stray_tests, untested, impatient),
)

# Proof that every rule can fail. Files are those of halloo, unless they are tests.

BROKEN: list[tuple[Callable[[Path], list[str]], dict[str, str], str]] = [
    (homeless, {"attic/box.py": ""}, "halloo.attic.box is in no layer"),
    (upward, {"core/a.py": "import halloo.net"}, "halloo.core.a imports halloo.net, above it"),
    (upward, {"core/a.py": "from ..net import b"}, "halloo.core.a imports halloo.net.b, above it"),
    (upward, {"net/a.py": "def f():\n from halloo import cli"}, "halloo.net.a imports halloo.cli, above it"),
    (upward, {"net/a.py": "if TYPE_CHECKING:\n import halloo.web"}, "halloo.net.a imports halloo.web, above it"),
    (upward, {"web/a.py": "from halloo import connect", "__init__.py": ""}, "halloo.web.a imports halloo, above it"),
    (sideways, {"web/a.py": "from halloo import check"}, "halloo.web.a imports halloo.check, beside it"),
    (circular, {"a.py": "from . import b", "b.py": "import halloo.a"}, "halloo.a <- halloo.b <- halloo.a"),
    (worldly, {"core/a.py": "import os.path"}, "halloo.core.a imports os.path"),
    (worldly, {"core/a.py": "from time import monotonic"}, "halloo.core.a imports time.monotonic"),
    (worldly, {"core/a.py": "import rich"}, "halloo.core.a imports rich"),
    (worldly, {"core/a.py": "print(1)"}, "halloo.core.a calls print"),
    (mechanical, {"cli/a.py": "import signal"}, "halloo.cli.a imports signal"),
    (long_files, {"net/a.py": "\n" * 401}, "halloo.net.a has more than 400 lines"),
    (long_functions, {"net/a.py": "def f():\n" + "    x = 1\n" * 41}, "halloo.net.a:f has more than 40 lines"),
    (undocumented, {"net/a.py": ""}, "halloo.net.a has no charter"),
    (undocumented, {"net/a.py": "'x'\nclass A: pass"}, "halloo.net.a:A has no docstring"),
    (stray_tests, {"tests/cli/test_a.py": ""}, "cli.a is tested, but is no module"),
    (untested, {"core/a.py": ""}, "core.a has no tests of its own"),
    (impatient, {"tests/test_a.py": "from time import sleep"}, "test_a imports time.sleep"),
    (impatient, {"tests/test_a.py": "import time\nnap = time.sleep"}, "test_a uses sleep"),
    (impatient, {"tests/test_a.py": "from unittest import mock"}, "test_a imports unittest.mock"),
]


@pytest.mark.parametrize(("rule", "files", "offender"), BROKEN, ids=[offender for *_, offender in BROKEN])
def test_a_rule_finds(rule: Callable[[Path], list[str]], files: dict[str, str], offender: str, tmp_path: Path) -> None:
    for name, text in files.items():
        path = tmp_path / (name if name.startswith("tests/") else f"src/halloo/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert rule(tmp_path) == [offender]


def test_an_exception_that_is_no_longer_needed_is_found(tmp_path: Path) -> None:
    assert unneeded(["halloo.net.tcp imports rich"], tmp_path) == ["no longer true: halloo.net.tcp imports rich"]
