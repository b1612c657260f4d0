"""The language of a program is recognized by its command, and by the beginning of a file that it names."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from halloo._check.language import MAX_HEAD, Language, language_of

GO = shutil.which("go")
ELF = b"\x7fELF\2\1\1"
GO_NOTE = b"\4\0\0\0\x53\0\0\0\4\0\0\0Go\0\0"


def test_an_interpreter_or_the_suffix_of_a_file_tells_the_language() -> None:
    commands: dict[str, Language] = {
        "python echoserver.py PORT": "python",
        "/usr/bin/python3.12 -m echo {port}": "python",
        "pypy3 x": "python",
        "py -3 server.py": "python",
        "./server.py {port}": "python",
        "python run_node.js": "python",
        "node server.js PORT": "javascript",
        "node server.mjs": "javascript",
        "npx tsx server.ts PORT": "javascript",
        "./server.mjs": "javascript",
        "java Echo PORT": "java",
        "/opt/jdk/bin/java -jar echo.jar": "java",
        "java.exe Echo.java": "java",
        "./gradlew run": "java",
        "go run . PORT": "go",
        "go run server.go": "go",
        "tcc -run echo.c": "c",
    }
    assert {command: language_of(command.split()) for command in commands} == commands


def test_a_program_that_only_starts_another_is_looked_through() -> None:
    commands: dict[str, Language] = {
        "env X=1 python s.py": "python",
        "/usr/bin/env -i PATH=/bin node s.js": "javascript",
        "X=1 java Echo": "java",
        "nice -n 15 timeout -k 1 2.5s stdbuf -oL go run .": "go",
        "uv run s.py": "python",
        "uv run --quiet python s.py": "python",
        "poetry run python -m echo": "python",
    }
    assert {command: language_of(command.split()) for command in commands} == commands


def test_the_commands_of_a_shell_tell_the_language_if_they_agree() -> None:
    commands: dict[str, Language | None] = {
        "exec python s.py 8888": "python",
        "cd 'a b' && node s.js $PORT 2>&1 | cat": "javascript",
        "javac Echo.java; java Echo 8888": "java",
        "# starts it\nX=1 go run . &\nwait": "go",
        'bash -ec "python s.py"': "python",
        "python make.py && node s.js": None,
        "python s.py 'unclosed": "python",
        "": None,
    }
    assert {command: language_of(["sh", "-c", command]) for command in commands} == commands
    assert language_of(["bash", "-euc", "exec python s.py"]) == "python"
    assert language_of(["bash", "run.sh"]) is None
    assert language_of(["sh", "-c"]) is None


def test_other_commands_are_unknown() -> None:
    for command in (
        "",
        "./echo PORT",
        "docker run -p 8888:8888 echo",
        "cargo run",
        "socat - -",
        "env",
        "ls",
        "env X=1",
    ):
        assert language_of(command.split()) is None


def test_shells_in_shells_are_followed_to_a_limit() -> None:
    nested, depth = ["python", "s.py"], 0
    while language_of(nested) == "python":
        nested, depth = ["sh", "-c", shlex.join(nested)], depth + 1
    assert 1 < depth < 10


def test_the_first_line_of_a_script_names_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "server"
    lines: dict[str, Language | None] = {
        "#!/usr/bin/env python3": "python",
        f"#!{sys.executable} -u": "python",
        "#! /usr/bin/env -S node --test": "javascript",
        "#!/bin/sh": None,
        f"#!{script}": None,
        "#!": None,
        "": None,
    }
    for line, language in lines.items():
        script.write_text(f"{line}\nprint()\n", encoding="utf-8")
        assert language_of([str(script), "PORT"]) == language


def test_an_elf_program_is_in_go_if_it_has_the_note_of_go_and_else_in_c(tmp_path: Path) -> None:
    program = tmp_path / "echo"
    contents: dict[bytes, Language | None] = {
        ELF + bytes(4000) + GO_NOTE + bytes(83): "go",
        ELF + bytes(4000) + b"\0\0\0\4\0\0\0\x53\0\0\0\4Go\0\0": "go",  # of a big-endian machine
        ELF + bytes(4000): "c",
        ELF + bytes(MAX_HEAD) + GO_NOTE: "c",  # only the beginning is read
        b"\x7fEL": None,
        b"": None,
    }
    for content, language in contents.items():
        program.write_bytes(content)
        assert language_of([str(program)]) == language
        assert language_of(["nice", str(program), "PORT"]) == language


def test_a_program_without_a_path_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo").write_bytes(ELF)
    monkeypatch.chdir(tmp_path)
    assert language_of(["echo"]) is None
    assert language_of(["./echo"]) == "c"


def test_what_is_no_readable_file_is_unknown_and_blocks_nothing(tmp_path: Path) -> None:
    fifo, unreadable, loop = tmp_path / "fifo", tmp_path / "unreadable", tmp_path / "loop"
    os.mkfifo(fifo)
    unreadable.write_bytes(b"")
    unreadable.chmod(0)
    loop.symlink_to(loop)
    for path in (fifo, unreadable, loop, tmp_path, tmp_path / "missing", "/dev/zero", "a/\0", "/" * 5000, "./\udcff"):
        assert language_of([str(path)]) is None


def test_a_program_of_this_machine_is_recognized() -> None:
    if sys.platform != "linux" or not (ls := shutil.which("ls")):
        pytest.skip("needs the ls of a Linux system")
    assert language_of([ls, "PORT"]) == "c"


@pytest.mark.conformance
@pytest.mark.parametrize("options", [[], ["-ldflags=-s -w"]])
def test_a_program_that_go_has_built_is_recognized(tmp_path: Path, options: list[str]) -> None:
    if GO is None:
        pytest.skip("needs the go command")
    (tmp_path / "echo.go").write_text(
        'package main\n\nimport "net"\n\nfunc main() { net.Dial("tcp", ":1") }\n', encoding="utf-8"
    )
    program = tmp_path / "echo"
    environment = os.environ | {"GO111MODULE": "off"}
    subprocess.run(
        [GO, "build", *options, "-o", program, "echo.go"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert language_of([str(program), "PORT"]) == "go"
