"""Output that breaks off: a reader that leaves, a signal in the middle of a file, a file that is renamed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import halloo
from tests.peers import unused_port
from tests.programs import PYTHON, started

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and pipes")

HALLOO = (PYTHON, "-m", "halloo")
TIMEOUT = 20  # seconds


@pytest.fixture
def echo() -> Iterator[str]:
    with halloo.Server("127.0.0.1:0") as server:
        yield str(server.address)


def leave(process: subprocess.Popen[bytes]) -> None:
    """Close the reading end of standard output."""
    assert process.stdout
    process.stdout.close()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Return the exit code and standard error."""
    assert process.stderr
    errors = process.stderr.read()
    return process.wait(TIMEOUT), errors


# A reader that leaves.


@pytest.mark.parametrize("options", [(), ("--json-stream", "-q")], ids=["text", "stream"])
def test_a_ping_ends_quietly_when_its_reader_leaves(options: tuple[str, ...], echo: str) -> None:
    with started(*HALLOO, "ping", echo, "-i", "10ms", *options) as process:
        assert process.stdout
        process.stdout.readline()
        leave(process)
        code, errors = ended(process)
    assert (code, errors.count(b"halloo:")) == (0, 0)


def test_a_ping_whose_reader_leaves_writes_its_report(echo: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with started(*HALLOO, "ping", echo, "-i", "10ms", "-o", path) as process:
        leave(process)
        assert ended(process) == (0, b"")
    assert json.loads(path.read_text(encoding="utf-8"))["summary"]["targets"][0]["received"] >= 0


@pytest.mark.parametrize(("present", "goal"), [(True, "max>1h"), (True, "max>1ns"), (False, "max>1ns")])
def test_ctrl_c_in_a_pipe_gives_the_summary_and_the_code_of_the_report(present: bool, goal: str, echo: str) -> None:
    with started(*HALLOO, "ping", echo, "-i", "1h", "--fail-if", goal) as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        if not present:  # tee(1) is ended by the same ^C
            leave(process)
        process.send_signal(signal.SIGINT)
        if present:
            assert b"1 sent, 1 received" in process.stdout.read()
        assert ended(process) == (3 if goal == "max>1ns" else 0, b"")


def test_a_reader_that_leaves_does_not_hide_that_no_target_answered() -> None:
    with started(*HALLOO, "ping", f"127.0.0.1:{unused_port()}", "-i", "1h") as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        leave(process)
        process.send_signal(signal.SIGINT)
        assert ended(process) == (1, b"")


def test_connect_ends_quietly_when_its_reader_leaves(echo: str) -> None:
    with started(*HALLOO, "connect", echo) as process:
        assert process.stdin
        leave(process)
        process.stdin.write(b"hello\n")
        assert ended(process) == (0, b"")


def test_receive_ends_quietly_when_its_reader_leaves() -> None:
    with started(*HALLOO, "receive", "127.0.0.1:0") as process:
        assert process.stderr
        leave(process)
        port = int(process.stderr.readline().rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
            client.sendall(b"hello")
            assert ended(process) == (0, b"")


def test_a_check_whose_reader_leaves_writes_its_report(echo: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with started(*HALLOO, "check", "server", echo, "--only", "T01,T02", "--json", path) as process:
        leave(process)
        assert ended(process) == (0, b"")
    assert json.loads(path.read_text(encoding="utf-8"))["summary"]["verdicts"]["pass"] >= 1


# Files.


def test_a_signal_leaves_a_whole_report_of_a_ping(echo: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("of an earlier run", encoding="utf-8")
    with started(*HALLOO, "ping", echo, "-i", "10ms", "-o", path) as process:
        assert process.stdout
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.stdout.read()
        assert ended(process) == (0, b"")
    assert json.loads(path.read_text(encoding="utf-8"))["summary"]["targets"][0]["received"] >= 1


# An echo server when it is started for the first time; later it never listens.
ECHO_ONCE = """
import os, signal, socket, sys
try:
    os.mkdir(sys.argv[2])
except FileExistsError:
    signal.pause()
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
conn, peer = s.accept()
while data := conn.recv(65536):
    conn.sendall(data)
"""


def check_words(folder: Path, *options: str) -> tuple[list[str], dict[str, Path]]:
    """Return the words of a check of two cases of which the second hangs, and the files of its reports."""
    paths = {kind: folder / kind for kind in ("json", "html", "csv", "junit", "markdown", "gradescope")}
    files = [word for kind, path in paths.items() for word in (f"--{kind}", str(path))]
    program = [PYTHON, "-c", ECHO_ONCE, "PORT", str(folder / "started")]
    return ["check", "server", "--only", "T01,T02,T03", *files, *options, "--", *program], paths


def check_reports(paths: dict[str, Path]) -> dict[str, str]:
    """Check that each report is whole; return the text of each case that was not run."""
    report = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert [each["verdict"] for each in report["results"]] == ["PASS", "BLOCKED", "BLOCKED"]
    assert ET.fromstring(paths["junit"].read_text(encoding="utf-8")).tag == "testsuites"  # noqa: S314 - our own file
    assert paths["html"].read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert json.loads(paths["gradescope"].read_text(encoding="utf-8"))["tests"][0]["status"] == "passed"
    for kind in ("csv", "markdown"):
        assert paths[kind].read_text(encoding="utf-8").endswith("\n")
    assert {*os.listdir(paths["json"].parent)} == {*paths, "started"}  # noqa: PTH208 - names
    return {each["id"]: each["text"] for each in report["results"] if each["verdict"] == "BLOCKED"}


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="halloo check needs /proc")
@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_whatever_ends_a_check_its_reports_have_the_cases_that_have_ended(
    number: signal.Signals, tmp_path: Path
) -> None:
    words, paths = check_words(tmp_path)
    with started(*HALLOO, *words) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"PASS tcp/T01")
        process.send_signal(number)
        assert process.wait(TIMEOUT) == (-9 if number == signal.SIGKILL else 130)
    assert check_reports(paths) == dict.fromkeys(("T02", "T03"), "the check was interrupted")
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["summary"]["exit_code"] == 130


@pytest.mark.skipif(sys.platform != "linux", reason="halloo check needs /proc")
def test_a_terminal_that_hangs_up_ends_a_check_with_its_reports(tmp_path: Path) -> None:
    words, paths = check_words(tmp_path)
    keyboard, screen = os.openpty()
    in_terminal = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
    argv = [PYTHON, "-IS", "-c", in_terminal, *HALLOO, *words]
    with subprocess.Popen(argv, stdin=screen, stdout=screen, stderr=screen) as process:
        os.close(screen)
        shown = b""
        while b"1/3" not in shown and b"PASS tcp/T01" not in shown:  # in a table, or on a line
            shown += os.read(keyboard, 65536)
        os.close(keyboard)
        assert process.wait(TIMEOUT) == 130
    assert check_reports(paths) == dict.fromkeys(("T02", "T03"), "the check was interrupted")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full, and halloo check /proc")
def test_an_error_amid_a_check_is_raised_once_its_reports_are_written(tmp_path: Path) -> None:
    words, paths = check_words(tmp_path)
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run([*HALLOO, *words], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    message = b"halloo: standard output cannot be written: no space left on device; make room on its disk\n"
    assert (done.returncode, done.stderr) == (2, message)
    why = "the check ended early: OSError: [Errno 28] No space left on device"
    assert check_reports(paths) == dict.fromkeys(("T02", "T03"), why)


@pytest.mark.skipif(sys.platform != "linux", reason="halloo check needs /proc")
def test_a_report_that_fails_does_not_prevent_the_others_and_is_no_fault_of_the_program(
    echo: str, tmp_path: Path
) -> None:
    faulty = "import json; json.dumps = None; from halloo._cli.main import main; main()"
    paths = [tmp_path / kind for kind in ("json", "junit", "csv")]
    files = [word for path in paths for word in (f"--{path.name}", str(path))]
    argv = [PYTHON, "-c", faulty, "check", "server", echo, "--only", "T01", *files]
    done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, [path.exists() for path in paths]) == (2, [False, True, True])
    assert b"1 case of a tcp server: 1 PASS" in done.stdout
    assert done.stderr.endswith(b"halloo: internal error of halloo; please report it with the lines above\n")
    assert b"TypeError: 'NoneType' object is not callable" in done.stderr


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
def test_a_stream_goes_on_after_logrotate(way: str, echo: str, tmp_path: Path) -> None:
    path, rotated = tmp_path / "ping.jsonl", tmp_path / "ping.jsonl.1"
    with started(*HALLOO, "ping", echo, "-i", "10ms", "-q", "--json-stream", "-o", path) as process:
        wait_for_content(path)
        if way == "rename":
            path.rename(rotated)
        else:
            os.truncate(path, 0)
        wait_for_content(path)
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    lines = path.read_text(encoding="utf-8").splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert ("start" in events, events[-1]) == (False, "end")
    if way == "rename":
        assert json.loads(rotated.read_text(encoding="utf-8").splitlines()[0])["event"] == "start"


def wait_for_content(path: Path) -> None:
    while not path.exists() or path.stat().st_size < 1000:
        pass
