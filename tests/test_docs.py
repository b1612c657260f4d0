"""What README.md shows is what happens: each of its commands and programs is run, and its output compared."""

import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from halloo._server.serve import serving
from tests.programs import PYTHON, Terminal, listening_port, run, started

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HALLOO = [PYTHON, "-m", "halloo"]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
CONSOLES: list[str] = [text for language, text in BLOCKS if language == "console"]
LEFT_RUNNING = next(text.splitlines()[0].removeprefix("$ ") for text in CONSOLES if "--workers" in text)
PROGRAMS: list[str] = [text for language, text in BLOCKS if language == "python"]


def console(start: str, *, nth: int = 0) -> list[str]:
    """Give the lines of the block that begins so."""
    return [text for text in CONSOLES if text.startswith(f"$ {start}\n")][nth].splitlines()


@pytest.fixture
def port() -> Iterator[int]:
    with started(*HALLOO, "serve", "0", "-4") as server:
        yield listening_port(server)


@pytest.fixture
def port_of_both_families() -> Iterator[int]:
    with serving("localhost:0") as server:  # no family refuses, so that nothing is said of one that is slow
        yield server.address.port


@pytest.fixture
def datagram_port() -> Iterator[int]:
    with started(*HALLOO, "serve", "udp://0", "-4", "-q") as server:
        yield listening_port(server, "udp")


@pytest.mark.parametrize("program", [text for text in PROGRAMS if "def test_" not in text])
def test_a_program_prints_what_its_comments_say(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - that a reader can run it is the fact
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", program)


def test_the_fixture_works_as_shown(tmp_path: Path) -> None:
    (program,) = (text for text in PROGRAMS if "def test_" in text)
    (tmp_path / "test_readme.py").write_text(program, encoding="utf-8")
    done = run(PYTHON, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path / "test_readme.py")
    assert b"1 passed" in done.stdout, done.stdout


def test_the_two_terminals() -> None:
    shown = [re.sub(r"\d{4,}", "PORT", line) for line in console("halloo serve")[1:]]
    with Terminal(*HALLOO, "serve", "0") as server:
        lines = server.read_until(b"[::1]:").decode() + server.read_until(b"\n").decode()
        port = re.findall(r":(\d+)", lines)[-1]
        assert talk([*HALLOO, "connect", f"localhost:{port}"]) == "\n".join(console("halloo connect localhost")[1:])
        lines += server.read_until(b")").decode()
    seen = [re.sub(r"\d{4,}", "PORT", line) for line in lines.splitlines() if not line.startswith("halloo:")]
    assert seen == shown


def talk(command: list[str]) -> str:
    """Type `Hello world` and a blank line, and give what stands on the screen then."""
    with Terminal(*command) as client:
        client.read_until(b"Send:")
        client.type("Hello world\n")
        screen = client.read_until(b"Received 'Hello world'\r\nSend:")
        client.type("\n")
        assert client.wait() == 0
    return f"Send:{screen.decode()}".replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["halloo serve tls://localhost:0", "halloo serve 0 udp://0", LEFT_RUNNING])
def test_a_server_says_where_it_listens(command: str) -> None:
    shown = console(command)[1:]
    with started(*HALLOO, *shlex.split(command)[1:]) as server:
        assert server.stdout is not None
        out = [server.stdout.readline().decode().rstrip() for line in shown if line.startswith("listening on ")]
        server.terminate()
        _, err = server.communicate(timeout=10)
    assert {alike(line) for line in shown} <= {alike(line) for line in [*out, *err.decode().splitlines()]}


def alike(line: str) -> str:
    """Give a line without what differs from run to run: ports and fingerprints."""
    return re.sub(r"\b([0-9a-f]{64}|\d{4,5})\b", "X", line)


def test_the_pipe(port_of_both_families: int, tmp_path: Path) -> None:
    make, pipe = (line.removeprefix("$ ") for line in console("head -c 1000000 /dev/urandom > big.bin"))
    command = pipe.replace(
        "halloo connect localhost", f"{shlex.join(HALLOO)} connect localhost:{port_of_both_families}"
    )
    done = subprocess.run(f"{make} && {command}", shell=True, cwd=tmp_path, capture_output=True, check=False)  # noqa: S602
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_pipe_of_datagrams(datagram_port: int, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 4000)
    pipe = console("halloo connect udp://localhost --size 1KiB < big.bin | cmp - big.bin")[0].removeprefix("$ ")
    command = pipe.replace(
        "halloo connect udp://localhost", f"{shlex.join(HALLOO)} connect udp://localhost:{datagram_port}"
    )
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)  # noqa: S602
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_the_table_says_of_datagrams(datagram_port: int) -> None:
    assert "`halloo send udp://localhost 'Hello world' --reply`" in README
    done = run(*HALLOO, "send", f"udp://localhost:{datagram_port}", "Hello world", "--reply")
    assert done.stdout == b"Hello world"
    with started(*HALLOO, "receive", "udp://0", "-4") as receiver:
        run(*HALLOO, "send", f"udp://localhost:{listening_port(receiver, 'udp')}", "Hello world")
        out, _ = receiver.communicate(timeout=10)
    assert out.decode().splitlines() == console("halloo receive")[1:]


def test_one_message_and_its_answer(port: int) -> None:
    _, answer = console("halloo send localhost 'Hello world' --reply")
    assert run(*HALLOO, "send", f"localhost:{port}", "Hello world", "--reply").stdout.decode() == answer


def test_one_client_whose_message_is_printed() -> None:
    with started(*HALLOO, "receive", "0", "-4") as receiver:
        run(*HALLOO, "send", f"localhost:{listening_port(receiver)}", "Hello world")
        out, _ = receiver.communicate(timeout=10)
    assert out.decode().splitlines() == console("halloo receive")[1:]


def test_a_ping_says_where_the_time_goes(port: int) -> None:
    command = "halloo ping localhost -c 3 -i 0.2"
    done = run(*HALLOO, *command.replace("localhost", f"localhost:{port}").split()[1:])
    assert done.returncode == 0, done.stderr
    said, _, _ = done.stdout.decode().partition("\nschedule")  # only there if the machine was busy
    assert [timeless(line) for line in console(command)[1:]] == [timeless(line) for line in said.splitlines()]


def timeless(line: str) -> str:
    """Give a line without ports and times, and without what its columns are aligned by."""
    return " ".join(re.sub(r"\b(\d{4,5}\b|\d+(\.\d+)?[num]?s\b)|(?<=window )\d+", "X", line).split())


def test_a_check_says_what_is_wrong() -> None:
    command = "halloo check server --only T14 -- python examples/echoserver.py PORT"
    places = {"python": PYTHON, "examples/echoserver.py": str(ROOT / "examples" / "echoserver.py")}
    done = run(*HALLOO, *(places.get(word, word) for word in shlex.split(command)[1:]))
    said = done.stdout.decode()
    for short, long in places.items():
        said = said.replace(long, short)
    assert done.returncode == 1
    assert "\n".join(console(command)[1:]) in said


def test_the_error_without_a_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run(*HALLOO, "connect", f"localhost:{port}")
    said = done.stderr.decode().replace(f"localhost:{port}", "localhost:8888").replace(f"serve {port}", "serve")
    assert said.splitlines() == console("halloo connect localhost", nth=1)[1:]


def test_the_example_client() -> None:
    with started(PYTHON, ROOT / "examples" / "echoserver.py", "0") as server:
        port = listening_port(server)
        command = [PYTHON, str(ROOT / "examples" / "echoclient.py"), "localhost", str(port)]
        shown = console("python examples/echoclient.py localhost")[1:]
        assert talk(command) == "\n".join(shown)


def test_the_make_commands_exist() -> None:
    for line in console("make demo"):
        done = run("make", "-n", "-C", ROOT, line.removeprefix("$ make "))
        assert done.returncode == 0, done.stderr


def test_every_console_block_is_run_above() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for text in CONSOLES:
        first = text.splitlines()[0].removeprefix("$ ")
        named = f'"{first}"' in source or first == LEFT_RUNNING
        assert named, f"no test runs the block of {first!r}"


@pytest.mark.parametrize(
    ("says", "error", "cure"), re.findall(r"^\| `+ ?(.+?) ?`+ \| `(\w+Error: .+?)` \| `(.+?)`", README, re.MULTILINE)
)
def test_what_a_python_2_program_meets_and_its_cure(says: str, error: str, cure: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as s:
        names = {"s": s, "text": "x", "input": lambda _: "x"}
        with pytest.raises((SyntaxError, NameError, TypeError)) as met:
            exec(compile(says, "tutorial", "exec"), dict(names))  # noqa: S102 - the reader's own program
        assert f"{met.type.__name__}: {met.value.args[0]}" == error
        exec(compile(cure, "tutorial", "exec"), dict(names))  # noqa: S102 - as above


def test_the_python_2_table_has_all_four_rows() -> None:
    assert len(re.findall(r"`\w+Error: ", README)) == 4
