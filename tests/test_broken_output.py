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


def test_a_signal_leaves_whole_reports_of_a_check(tmp_path: Path) -> None:
    kinds = ("json", "html", "csv", "junit", "markdown", "gradescope")
    paths = {kind: tmp_path / kind for kind in kinds}
    files = [word for kind in kinds for word in (f"--{kind}", str(paths[kind]))]
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it never answers
        listener.settimeout(TIMEOUT)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with started(*HALLOO, "check", "server", address, *files) as process, listener.accept()[0]:
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 130
    report = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert report["summary"]["exit_code"] == 130
    assert {each["text"] for each in report["results"]} == {"the check was interrupted"}
    assert ET.fromstring(paths["junit"].read_text(encoding="utf-8")).tag == "testsuites"  # noqa: S314 - our own file
    assert paths["html"].read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert json.loads(paths["gradescope"].read_text(encoding="utf-8"))["score"] == 0
    for kind in ("csv", "markdown"):
        assert paths[kind].read_text(encoding="utf-8").endswith("\n")


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
