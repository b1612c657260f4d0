"""The fixes in `fixes.toml`: each fits the report, and a compiler of its language accepts it."""

import ast
import builtins
import os
import shutil
import subprocess
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from halloo._check.fixes import fixes
from halloo._check.language import LANGUAGES, Language
from halloo._check.report.text import WHOLE
from halloo._output.terminal import USUAL
from tests._check import snippets

TEXT = resources.files("halloo._check").joinpath("fixes.toml").read_text(encoding="utf-8")
FIXES = {mistake: fixes(mistake) for mistake in tomllib.loads(TEXT)}
MAX_LINES = 9
QUICK_START = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")  # of a JVM: half the processor time


def require(*commands: str) -> list[str]:
    """Return the paths of the commands; skip the test if one is not installed."""
    found = [shutil.which(command) for command in commands]
    if None in found:
        pytest.skip(f"needs {' and '.join(commands)}")
    return [path for path in found if path]


def compile_with(*command: str, folder: Path, **environment: str) -> str:
    """Run a compiler in a folder; return what it says if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def in_language(language: Language) -> dict[str, str]:
    return snippets.in_language(language, FIXES)


def test_each_mistake_has_a_fix_in_python_and_in_known_languages_only() -> None:
    assert [mistake for mistake, each in FIXES.items() if "python" not in each] == []
    assert {language for each in tomllib.loads(TEXT).values() for language in each} == set(LANGUAGES)
    assert fixes("no such mistake") == {}


def test_a_fix_is_printed_as_it_is() -> None:
    """A report prints it indented, and does not wrap it."""
    for mistake, each in FIXES.items():
        for language, code in each.items():
            lines = code.splitlines()
            assert 0 < len(lines) <= MAX_LINES, (mistake, language)
            assert [line for line in lines if len(WHOLE + line) > USUAL or line != line.rstrip()] == [], mistake
            assert code.isascii(), (mistake, language)
            assert "\t" not in code, (mistake, language)


def test_python_compiles_every_fix_and_every_name_is_known() -> None:
    for mistake, code in in_language("python").items():
        tree = ast.parse(snippets.python(code), mistake)
        names = [each for each in ast.walk(tree) if isinstance(each, ast.Name)]
        made = {each.id for each in names if isinstance(each.ctx, ast.Store)}
        made |= {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
        made |= {each.name for each in ast.walk(tree) if isinstance(each, ast.ExceptHandler) and each.name}
        used = {each.id for each in names} - made - set(dir(builtins))
        assert used <= snippets.PYTHON_NAMES, mistake
        compile(tree, mistake, "exec")


def test_gcc_compiles_every_fix_in_c_without_a_warning(tmp_path: Path) -> None:
    (gcc,) = require("gcc")
    source = write(tmp_path, "fixes.c", snippets.c(in_language("c")))
    assert not compile_with(gcc, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source, folder=tmp_path)


def test_javac_compiles_every_fix_in_java(tmp_path: Path) -> None:
    (javac,) = require("javac")
    source = write(tmp_path, "Fixes.java", snippets.java(in_language("java")))
    assert not compile_with(javac, *QUICK_START, "-proc:none", "-d", str(tmp_path), source, folder=tmp_path)


def test_go_compiles_every_fix_in_go(tmp_path: Path) -> None:
    (go,) = require("go")
    source = write(tmp_path, "fixes.go", snippets.go(in_language("go")))
    assert not compile_with(go, "build", "-gcflags=-e", source, folder=tmp_path, GO111MODULE="off")


def test_node_parses_every_fix_in_javascript(tmp_path: Path) -> None:
    (node,) = require("node")
    source = write(tmp_path, "fixes.js", snippets.javascript(in_language("javascript")))
    assert not compile_with(node, "--check", source, folder=tmp_path)
