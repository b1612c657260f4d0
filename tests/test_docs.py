"""README.md and the pages under docs/ show what happens: each command and program is run, and its output compared."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halloo import Server
from tests.command import halloo
from tests.programs import PYTHON, Terminal, listening_port, run, started

ROOT = Path(__file__).resolve().parent.parent
HALLOO = [PYTHON, "-m", "halloo"]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bench" / "README.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = [README] + [
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("serve", "connect", "tcp-and-udp", "check", "library", "testing", "tutorial", "how-to/measure")
]
"""The pages whose console and Python blocks are run."""


def blocks(language: str) -> list[str]:
    """Return the different fenced blocks of a language, in the order of the pages."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return list(dict.fromkeys(text for page in RUN for text in fence.findall(page)))


CONSOLES = blocks("console")
PROGRAMS = blocks("python")
LEFT_RUNNING = next(text.splitlines()[0].removeprefix("$ ") for text in CONSOLES if "--workers" in text)


def console(start: str, *, nth: int = 0) -> list[str]:
    """Return the lines of the nth block whose first command is `start`."""
    return [text for text in CONSOLES if text.startswith(f"$ {start}\n")][nth].splitlines()


@pytest.fixture
def port() -> Iterator[int]:
    with Server("127.0.0.1:0") as server:
        yield server.address.port


@pytest.fixture
def port_of_both_families() -> Iterator[int]:
    with Server("localhost:0") as server:  # no family refuses, so that nothing is said of one that is slow
        yield server.address.port


@pytest.fixture
def datagram_port() -> Iterator[int]:
    with Server("udp://127.0.0.1:0") as server:
        yield server.address.port


def test_each_program_prints_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    for program in PROGRAMS:
        if "def test_" not in program and "sys.argv" not in program:  # those are started by other tests
            exec(compile(program, "a page", "exec"), {})  # noqa: S102 - the reader's program
            assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", program), program


def test_the_fixture_works_as_shown(tmp_path: Path) -> None:
    (program,) = (text for text in PROGRAMS if "def test_" in text)
    (tmp_path / "test_page.py").write_text(program, encoding="utf-8")
    done = run(PYTHON, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path / "test_page.py")
    assert b"1 passed" in done.stdout, done.stdout


def test_the_two_terminals() -> None:
    shown = [re.sub(r"\d{4,}", "PORT", line) for line in console("halloo serve")[1:]]
    with Terminal(*HALLOO, "serve", "0") as server:
        lines = server.read_until(b"[::1]:").decode() + server.read_until(b"\n").decode()
        port = re.findall(r":(\d+)", lines)[-1]
        assert talk([*HALLOO, "connect", f"localhost:{port}"]) == "\n".join(console("halloo connect localhost")[1:])
        lines += server.read_until(b")").decode()
    seen = [re.sub(r"\d{4,}", "PORT", line) for line in lines.splitlines() if not line.startswith(("halloo:", "  "))]
    assert seen == shown


def talk(command: list[str]) -> str:
    """Type `Hello world` and a blank line, and return the text on the screen."""
    with Terminal(*command) as client:
        client.read_until(b"Send:")
        client.type("Hello world\n")
        screen = client.read_until(b"Received 'Hello world'\r\nSend:")
        client.type("\n")
        assert client.wait() == 0
    return f"Send:{screen.decode()}".replace("\r\n", "\n")


SERVERS = ["halloo serve tls://localhost:0", "halloo serve 0 udp://0", LEFT_RUNNING]


@pytest.mark.parametrize("command", SERVERS)
def test_a_server_prints_where_it_listens(command: str) -> None:
    shown = console(command)[1:]
    with started(*HALLOO, *shlex.split(command)[1:]) as server:
        assert server.stdout is not None
        out = [server.stdout.readline().decode().rstrip() for line in shown if line.startswith("listening on ")]
        server.terminate()
        _, err = server.communicate(timeout=10)
    printed = {without_ports(line) for line in [*out, *err.decode().splitlines()]}
    assert {without_ports(line) for line in shown} <= printed


def without_ports(line: str) -> str:
    """Replace what differs from run to run: ports and fingerprints."""
    return re.sub(r"\b([0-9a-f]{64}|\d{4,5})\b", "X", line)


def test_the_pipe(port_of_both_families: int, tmp_path: Path) -> None:
    make, pipe = (line.removeprefix("$ ") for line in console("head -c 1000000 /dev/urandom > big.bin"))
    command = pipe.replace(
        "halloo connect localhost", f"{shlex.join(HALLOO)} connect localhost:{port_of_both_families}"
    )
    done = subprocess.run(f"{make} && {command}", shell=True, cwd=tmp_path, capture_output=True, check=False)  # noqa: S602 - as a reader does
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_pipe_of_datagrams(datagram_port: int, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 4000)
    pipe = console("halloo connect udp://localhost --size 1KiB < big.bin | cmp - big.bin")[0].removeprefix("$ ")
    command = pipe.replace(
        "halloo connect udp://localhost", f"{shlex.join(HALLOO)} connect udp://localhost:{datagram_port}"
    )
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)  # noqa: S602 - as a reader does
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_datagram_commands_of_the_table(datagram_port: int) -> None:
    assert any("`halloo send udp://localhost 'Hello world' --reply`" in page for page in RUN)
    done = halloo("send", f"udp://localhost:{datagram_port}", "Hello world", "--reply")
    assert done.stdout == b"Hello world"
    with started(*HALLOO, "receive", "udp://0", "-4") as receiver:
        # On IPv6 the port may be another test's.
        halloo("send", f"udp://localhost:{listening_port(receiver, 'udp')}", "Hello world", "-4")
        out, _ = receiver.communicate(timeout=10)
    assert out.decode().splitlines() == console("halloo receive")[1:]


def test_one_message_and_its_reply(port: int) -> None:
    _, reply = console("halloo send localhost 'Hello world' --reply")
    assert halloo("send", f"localhost:{port}", "Hello world", "--reply").stdout.decode() == reply


def test_one_client_whose_message_is_printed() -> None:
    with started(*HALLOO, "receive", "0", "-4") as receiver:
        halloo("send", f"localhost:{listening_port(receiver)}", "Hello world", "-4")  # as above
        out, _ = receiver.communicate(timeout=10)
    assert out.decode().splitlines() == console("halloo receive")[1:]


def test_ping_prints_where_the_time_goes(port: int) -> None:
    command = "halloo ping localhost -c 3 -i 0.2"
    done = halloo(*command.replace("localhost", f"localhost:{port}").split()[1:])
    assert done.returncode == 0, done.stderr
    printed, _, _ = done.stdout.decode().partition("\nschedule")  # printed only when the machine was busy
    assert [without_times(line) for line in console(command)[1:]] == [
        without_times(line) for line in printed.splitlines()
    ]


def without_times(line: str) -> str:
    """Replace ports and times, and collapse the spaces that align the columns."""
    return " ".join(re.sub(r"\b(\d{4,5}\b|\d+(\.\d+)?[num]?s\b)|(?<=window )\d+", "X", line).split())


def test_check_prints_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "halloo check server --only T01,T05 -- python stripper.py PORT"
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# stripper.py\n.*?)```", page, re.DOTALL)
    (tmp_path / "stripper.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = halloo(*(PYTHON if word == "python" else word for word in shlex.split(command)[1:]))
    assert done.returncode == 1
    assert "\n".join(console(command)[1:]) in done.stdout.decode().replace(PYTHON, "python")


def test_the_error_without_a_server() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        done = halloo("connect", f"localhost:{port}")
    message = done.stderr.decode().replace(f"localhost:{port}", "localhost:8888").replace(f"serve {port}", "serve")
    assert message.splitlines() == console("halloo connect localhost", nth=1)[1:]


def test_the_example_client() -> None:
    with started(PYTHON, ROOT / "examples" / "echoserver.py", "0") as server:
        port = listening_port(server)
        command = [PYTHON, str(ROOT / "examples" / "echoclient.py"), "localhost", str(port)]
        shown = console("python examples/echoclient.py localhost")[1:]
        assert talk(command) == "\n".join(shown)


def test_the_make_commands_exist() -> None:
    for line in (*console("make demo")[:1], *console("make test")):
        done = run("make", "-n", "-C", ROOT, line.removeprefix("$ make "))
        assert done.returncode == 0, done.stderr


def test_the_environment_to_activate_is_the_one_that_make_makes() -> None:
    assert console("make demo")[1:] == ["$ . .venv/bin/activate"]
    assert "\nVENV ?= .venv\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_public_names_need_no_extra() -> None:
    without = "import sys; sys.modules.update(dict.fromkeys(('prometheus_client', 'trustme', 'hdrh', 'pytest')))"
    done = run(PYTHON, "-c", f"{without}; import halloo; [getattr(halloo, name) for name in halloo.__all__]")
    assert done.returncode == 0, done.stderr


def test_every_console_block_is_run_above() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for text in CONSOLES:
        first = text.splitlines()[0].removeprefix("$ ")
        assert f'"{first}"' in source or first == LEFT_RUNNING, f"no test runs the block of {first!r}"


def test_the_readme_is_shorter_than_150_lines() -> None:
    assert len(README.splitlines()) < 150


def test_every_relative_link_leads_to_a_file_and_no_page_installs_halloo_from_an_index_without_it() -> None:
    index = re.compile(r"(pip|pip3|pipx|uv) (tool )?(install|run) '?halloo\b(?!-)|uvx")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in target]
        assert [target for target in targets if not (page.parent / target).exists()] == [], page
        assert not index.search(text), page


PYTHON_2 = re.findall(r"^\| `+ ?(.+?) ?`+ \| `(\w+Error: .+?)` \| `(.+?)`", RUN[-2], re.MULTILINE)


def test_python_2_code_raises_the_error_of_the_table_and_its_fix_runs() -> None:
    assert len(PYTHON_2) == 7

    def run(code: str) -> None:
        code = f"try:\n    pass\n{code}\n    pass" if code.startswith("except") else code
        exec(compile(code, "tutorial", "exec"), dict(names))  # noqa: S102 - the reader's program

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as s:
        names = {"s": s, "text": "x", "input": lambda _: "x"}
        for code, error, fix in PYTHON_2:
            run(fix)
            if code.startswith("except") and sys.version_info >= (3, 14):  # valid again (PEP 758)
                continue
            with pytest.raises((SyntaxError, NameError, TypeError, ImportError)) as raised:
                run(code)
            assert f"{raised.type.__name__}: {raised.value.args[0]}" == error


def test_contributing_names_files_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:_\w+/|errors)[\w/]*\.(?:py|toml)|_\w+/[\w/]+/)`", page.partition("## Tests")[0])
    assert len(files) > 15
    assert [name for name in files if not (ROOT / "src" / "halloo" / name).exists() and "test_" not in name] == []
