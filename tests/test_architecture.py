"""The architecture as tests: the direction of imports, the size of files, what each module may know.

First the lists that a change may have to amend, then the tests, then the rules behind them. A rule takes a source tree
and returns its violations; at the end each rule is shown a small tree that breaks it.
`python -m pytest tests/test_architecture.py -s` prints the packages, their sizes and their imports.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

TOP = Path(__file__).resolve().parent.parent
SRC = TOP / "src"

# From bottom to top. A module imports from its own package and from those before it, never from those behind it.
LAYERS = (
    *("errors", "_core", "_net", "_output"),
    *("_server", "_client", "_ping", "_check"),  # one package a job: a job may import those to its left
    *("_cli", "testing", "pytest_plugin", "__main__"),
)
# What a pure module must not know: input and output, clocks, randomness, processes, the interpreter that it runs in.
IMPURE = {
    *("asyncio", "fcntl", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil"),
    *("signal", "socket", "socketserver", "ssl", "subprocess", "sys", "tempfile", "threading"),
    *("random", "secrets", "time", "uuid"),
}
PURE = "Pure: no I/O, no clock, no randomness."
# Only these use sockets, polls and processes; `_check` has sockets of its own to share no bug with what it checks.
MECHANISM = ("_net", "_output", "_server", "_ping", "_check")
SYSTEM = {"socket", "select", "selectors", "signal", "threading", "subprocess", "fcntl", "mmap"}
# Packages whose tests are named after their modules; in the second list every module has a test file.
MIRRORED = ("_cli", "_client", "_core", "_net", "_output", "_ping", "_server")
TESTED = ("_core", "_net", "_output", "_ping", "_server")

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40

# Each violation that stays, word for word, and why.
EXCEPTIONS = {
    "halloo._core.hosts imports socket.AF_INET": "for inet_pton",
    "halloo._core.hosts imports socket.AF_INET6": "for inet_pton",
    "halloo._core.hosts imports socket.inet_pton": "parses text, without I/O, in a tenth of the time of ipaddress",
    "halloo.errors imports socket": "UnknownHost is kin of socket.gaierror",
    "halloo.__main__ imports signal": "an interrupt ends the command before anything else is imported",
    "halloo._cli.main imports signal": "the exit code of an interrupted command is made of SIGINT's number",
    "halloo._server.echo:turn has more than 40 lines": "the hot loop: calls would cost a tenth of the speed",
    "halloo._server.udp:readable has more than 40 lines": "the hot loop of datagrams, for the same reason",
}


# The tests.


def test_every_rule_holds_and_every_exception_is_still_needed() -> None:
    violations = {violation for rule in RULES for violation in rule(TOP)}
    assert sorted(violations - EXCEPTIONS.keys()) == []
    assert sorted(EXCEPTIONS.keys() - violations) == [], "no longer true"


def test_importing_halloo_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import halloo; print(*set(sys.modules) - before)"
    path = os.environ | {"PYTHONPATH": str(SRC)}
    run = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    assert {name for name in run.stdout.split() if top(name) not in sys.stdlib_module_names} == {"halloo"}


def test_every_package_says_what_it_is_for() -> None:
    rows = list(table(TOP))
    print("", *rows, sep="\n")  # noqa: T201 - shown by pytest -s
    assert len(rows) == len({package(m.name) for m in read(SRC)}) + 2, "a heading, a row a package, a total"


# The files, parsed.


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name, such as `halloo._core.units.size`, and the `module` that has it, `halloo._core.units`."""

    name: str
    module: str


@dataclass(frozen=True, slots=True)
class Module:
    """One file, named as Python names it."""

    name: str
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def charter(self) -> str:
        """The first line of the docstring."""
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]


def top(name: str) -> str:
    return name.partition(".")[0]


def package(name: str) -> str:
    """Take `_core` out of `halloo._core.units`; empty for `halloo` itself."""
    return name.split(".")[1] if "." in name else ""


def layer(name: str) -> int:
    """Number the layers from below. `halloo` itself counts as `_cli`: it gathers names from everywhere."""
    return LAYERS.index(package(name) or "_cli") if package(name) in (*LAYERS, "") else len(LAYERS)


@cache
def read(folder: Path) -> tuple[Module, ...]:
    """Parse all files under a folder."""
    paths = files(folder)
    return tuple(parsed(name, path, paths) for name, path in paths.items())


def files(folder: Path) -> dict[str, Path]:
    """Find all files under a folder, named as Python names them."""
    paths = sorted(folder.rglob("*.py"))
    names = [path.relative_to(folder).with_suffix("").parts for path in paths]
    return {
        ".".join(name[:-1] if name[-1] == "__init__" else name): path for name, path in zip(names, paths, strict=True)
    }


def parsed(name: str, path: Path, known: Collection[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path))
    parent = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    return Module(name, text, tree, tuple(imports(tree, parent, known)))


def imports(tree: ast.Module, parent: list[str], known: Collection[str]) -> Iterator[Import]:
    """Find every import, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = parent[: len(parent) - node.level + 1] if node.level else []
            start += [node.module] if node.module else []
            names = [".".join([*start, alias.name]) for alias in node.names]
        else:
            continue
        yield from (Import(name, within(name, known)) for name in names)


def within(name: str, known: Collection[str]) -> str:
    """Give the module that a name is in, or is."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), name)


# The rules: each returns the violations in a tree.


def inner_imports(tree: Path) -> Iterator[tuple[Module, Import]]:
    """Pair modules with what they import of halloo. `halloo` itself is left out: it imports names when asked."""
    for module in read(tree / "src"):
        yield from ((module, i) for i in module.imports if top(i.name) == "halloo" and package(module.name))


def without_layer(tree: Path) -> list[str]:
    return [f"{m.name} is in no layer" for m in read(tree / "src") if package(m.name) not in (*LAYERS, "")]


def upward(tree: Path) -> list[str]:
    pairs = inner_imports(tree)
    return [f"{m.name} imports {i.module}, above it" for m, i in pairs if layer(i.module) > layer(m.name)]


def circular(tree: Path) -> list[str]:
    """Find the groups of modules that import each other, for types alone too."""
    graph: dict[str, set[str]] = {module.name: set() for module in read(tree / "src")}
    for module, i in inner_imports(tree):
        graph[module.name].add(i.module)
    return [f"circle: {' '.join(sorted(group))}" for group in circles(graph)]


def circles(graph: Mapping[str, set[str]]) -> Iterator[set[str]]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        start = error.args[1][0]
        group = {name for name in reached(graph, start) if start in reached(graph, name)}
        yield group
        yield from circles({name: graph[name] - group for name in graph.keys() - group})


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found, new = set[str](), {start}
    while new:
        new = {after for name in new for after in graph.get(name, ())} - found
        found |= new
    return found


def impure(tree: Path) -> list[str]:
    modules = read(tree / "src")
    pure = [m for m in modules if m.charter.endswith(PURE)]
    return [
        *(f"{m.name} does not begin with {PURE!r}" for m in modules if package(m.name) == "_core" and m not in pure),
        *(f"{m.name} imports {i.name}" for m in pure for i in m.imports if not is_pure(i, pure)),
        *(f"{m.name} calls {name}" for m in pure for name in called(m.tree) if name in {"input", "open", "print"}),
    ]


def is_pure(imported: Import, pure: Collection[Module]) -> bool:
    if top(imported.name) == "halloo":
        return imported.module == "halloo.errors" or any(m.name == imported.module for m in pure)
    return top(imported.name) in sys.stdlib_module_names - IMPURE


def called(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def systemic(tree: Path) -> list[str]:
    others = [m for m in read(tree / "src") if package(m.name) not in MECHANISM]
    return [f"{m.name} imports {i.name}" for m in others for i in m.imports if top(i.name) in SYSTEM]


def long_files(tree: Path) -> list[str]:
    long = [m.name for m in read(tree / "src") if m.lines > LINES_OF_A_FILE]
    return [f"{name} has more than {LINES_OF_A_FILE} lines" for name in long]


def long_functions(tree: Path) -> list[str]:
    return [
        f"{m.name}:{node.name} has more than {LINES_OF_A_FUNCTION} lines"
        for m in read(tree / "src")
        for node in ast.walk(m.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if lines_of_code(node, m.text.splitlines()) > LINES_OF_A_FUNCTION
    ]


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Count the lines of the body, without the docstring, comments and blank lines."""
    body = node.body if ast.get_docstring(node) is None else node.body[1:]
    texts = [line.strip() for line in lines[body[0].lineno - 1 : node.end_lineno]] if body else []
    return sum(1 for text in texts if text and not text.startswith("#"))


def undocumented(tree: Path) -> list[str]:
    modules = read(tree / "src")
    return [f"{m.name} has no docstring" for m in modules if not m.charter] + [
        f"{m.name}:{node.name} has no docstring"
        for m in modules
        for node in m.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]


def mirrored(names: Iterator[str]) -> set[str]:
    """Keep what is in a mirrored package, as `_core.units`."""
    return {name for name in names if top(name) in MIRRORED and "." in name}


def coverable(tree: Path) -> set[str]:
    names = [m.name for m in read(tree / "src")]
    folders = {name.rpartition(".")[0] for name in names}
    return mirrored(name.removeprefix("halloo.") for name in names if name not in folders)


def covered(tree: Path) -> set[str]:
    return mirrored(name.replace(".test_", ".") for name in files(tree / "tests") if ".test_" in name)


def stray_tests(tree: Path) -> list[str]:
    return [f"{name} is tested, but is no module" for name in sorted(covered(tree) - coverable(tree))]


def untested(tree: Path) -> list[str]:
    bare = sorted(coverable(tree) - covered(tree))
    return [f"{name} has no test file" for name in bare if top(name) in TESTED]


def impatient(tree: Path) -> list[str]:
    paths = files(tree / "tests")
    suspects = {name: path for name, path in paths.items() if re.search("sleep|mock", path.read_text(encoding="utf-8"))}
    tests = [parsed(name, path, paths) for name, path in suspects.items()]
    return [
        f"{m.name} uses sleep"
        for m in tests
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ] + [f"{m.name} imports {i.name}" for m in tests for i in m.imports if {"mock", "sleep"} & {*i.name.split(".")}]


def table(tree: Path) -> Iterator[str]:
    """Describe each package in a row: files, lines, the packages that it imports, and what it is for."""
    modules = read(tree / "src")
    yield f"{'package':<14}{'files':>6}{'lines':>7}{'median':>7}  for; imports"
    for name in sorted({package(m.name) for m in modules}, key=lambda name: layer(f"halloo.{name}" if name else "")):
        own = [m for m in modules if package(m.name) == name]
        used = {package(i.module) for m in own for i in m.imports if top(i.name) == "halloo"} - {name, ""}
        imported = " ".join(sorted(used, key=LAYERS.index))
        sizes = [m.lines for m in own]
        row = f"{name or 'halloo':<14}{len(own):>6}{sum(sizes):>7}{median(sizes):>7.0f}"
        yield f"{row}  {own[0].charter} [{imported}]"
    sizes = [m.lines for m in modules]
    yield f"{'all':<14}{len(sizes):>6}{sum(sizes):>7}{median(sizes):>7.0f}"


RULES = (
    *(without_layer, upward, circular, impure, systemic, long_files, long_functions, undocumented),
    *(stray_tests, untested, impatient),
)

# Proof that every rule can fail. Files are those of halloo, unless they are tests.

BROKEN: list[tuple[Callable[[Path], list[str]], dict[str, str], str]] = [
    (without_layer, {"attic/box.py": ""}, "halloo.attic.box is in no layer"),
    (upward, {"_core/a.py": "import halloo._net"}, "halloo._core.a imports halloo._net, above it"),
    (upward, {"_core/a.py": "from .._net import b"}, "halloo._core.a imports halloo._net.b, above it"),
    (upward, {"_net/a.py": "def f():\n from halloo import _cli"}, "halloo._net.a imports halloo._cli, above it"),
    (upward, {"_net/a.py": "if TYPE_CHECKING:\n import halloo._cli"}, "halloo._net.a imports halloo._cli, above it"),
    (upward, {"_net/a.py": "from halloo import connect", "__init__.py": ""}, "halloo._net.a imports halloo, above it"),
    (upward, {"_server/a.py": "from halloo import _ping"}, "halloo._server.a imports halloo._ping, above it"),
    (circular, {"a.py": "from . import b", "b.py": "import halloo.a"}, "circle: halloo.a halloo.b"),
    (
        circular,
        {"a.py": "import halloo.b", "b.py": "if TYPE_CHECKING:\n import halloo.a", "c.py": "import halloo.a"},
        "circle: halloo.a halloo.b",
    ),
    (impure, {"_core/a.py": f'"""A. {PURE}"""\nimport os.path'}, "halloo._core.a imports os.path"),
    (impure, {"_ping/a.py": f'"""A. {PURE}"""\nfrom time import monotonic'}, "halloo._ping.a imports time.monotonic"),
    (impure, {"_core/a.py": f'"""A. {PURE}"""\nimport rich'}, "halloo._core.a imports rich"),
    (impure, {"_core/a.py": f'"""A. {PURE}"""\nprint(1)'}, "halloo._core.a calls print"),
    (impure, {"_ping/a.py": f'"""A. {PURE}"""\nfrom halloo import _net'}, "halloo._ping.a imports halloo._net"),
    (impure, {"_core/a.py": ""}, f"halloo._core.a does not begin with {PURE!r}"),
    (systemic, {"_cli/a.py": "import signal"}, "halloo._cli.a imports signal"),
    (long_files, {"_net/a.py": "\n" * 401}, "halloo._net.a has more than 400 lines"),
    (long_functions, {"_net/a.py": "def f():\n" + "    x = 1\n" * 41}, "halloo._net.a:f has more than 40 lines"),
    (undocumented, {"_net/a.py": ""}, "halloo._net.a has no docstring"),
    (undocumented, {"_net/a.py": "'x'\nclass A: pass"}, "halloo._net.a:A has no docstring"),
    (stray_tests, {"tests/_cli/test_a.py": ""}, "_cli.a is tested, but is no module"),
    (untested, {"_core/a.py": ""}, "_core.a has no test file"),
    (impatient, {"tests/test_a.py": "from time import sleep"}, "test_a imports time.sleep"),
    (impatient, {"tests/test_a.py": "import time\nnap = time.sleep"}, "test_a uses sleep"),
    (impatient, {"tests/test_a.py": "from unittest import mock"}, "test_a imports unittest.mock"),
]


def test_each_rule_finds_its_violation(tmp_path: Path) -> None:
    for number, (rule, files, violation) in enumerate(BROKEN):
        tree = tmp_path / str(number)
        for name, text in files.items():
            path = tree / (name if name.startswith("tests/") else f"src/halloo/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert rule(tree) == [violation]
