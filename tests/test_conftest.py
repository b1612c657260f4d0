"""Check that a test which leaves something behind fails, and that one which cleans up does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

TESTS = """
import os, socket, subprocess, sys, threading

def test_descriptor():
    os.open("/dev/zero", os.O_RDONLY)

def test_second_descriptor_of_the_same_file():
    os.dup(os.open("/dev/zero", os.O_RDONLY))

def test_socket():
    socket.socket().detach()

def test_thread():
    threading.Thread(target=threading.Event().wait, name="idler", daemon=True).start()

def test_after_a_thread_was_left():
    pass

def test_child():
    out, into = os.pipe()
    if not os.fork():
        os.close(into)
        os.read(out, 1)  # until the parent ends
        os._exit(0)

def test_child_that_was_not_waited_for():
    out, into = os.pipe()
    if not os.fork():
        os._exit(0)
    os.close(into)
    os.read(out, 1)  # until the child ends
    os.close(out)

def test_thread_about_to_end():
    go = threading.Event()
    threading.Thread(target=go.wait).start()
    threading.Timer(0.1, go.set).start()

def test_file_waiting_to_be_collected(tmp_path):
    ring = [open(tmp_path / "file", "w")]
    ring.append(ring)

def test_clean():
    socket.socket().close()
    subprocess.run([sys.executable, "-c", ""])
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/fd")
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all of TESTS in one pytest run, which takes a second; map each test to what it left, or to nothing."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-W", "ignore"]
    wide = os.environ | {"COLUMNS": "500"}  # otherwise pytest truncates the reasons
    output = subprocess.run(argv, cwd=folder, env=wide, capture_output=True, text=True, check=False).stdout
    passed = dict.fromkeys(re.findall(r"^PASSED \S+::test_(\w+)", output, re.MULTILINE), "")
    return passed | dict(re.findall(r"^ERROR \S+::test_(\w+) - Failed: left behind: (.*)", output, re.MULTILINE))


@linux
def test_a_descriptor_left_open_is_named(verdicts: dict[str, str]) -> None:
    assert verdicts["descriptor"] == "descriptor of /dev/zero"


@linux
def test_each_descriptor_of_the_same_file_counts(verdicts: dict[str, str]) -> None:
    assert verdicts["second_descriptor_of_the_same_file"] == "descriptor of /dev/zero, descriptor of /dev/zero"


@linux
def test_a_socket_left_open_is_named(verdicts: dict[str, str]) -> None:
    assert verdicts["socket"].startswith("descriptor of socket:")


def test_a_thread_left_running_is_named(verdicts: dict[str, str]) -> None:
    assert verdicts["thread"] == "thread 'idler'"


def test_the_test_after_a_careless_one_is_not_blamed(verdicts: dict[str, str]) -> None:
    assert not verdicts["after_a_thread_was_left"]


@posix
def test_a_child_left_running_is_named(verdicts: dict[str, str]) -> None:
    assert "child process " in verdicts["child"]


@posix
def test_a_child_that_was_not_waited_for_is_named(verdicts: dict[str, str]) -> None:
    assert verdicts["child_that_was_not_waited_for"].startswith("child process ")


def test_a_thread_about_to_end_is_given_the_time(verdicts: dict[str, str]) -> None:
    assert not verdicts["thread_about_to_end"]


def test_a_file_waiting_to_be_collected_is_collected(verdicts: dict[str, str]) -> None:
    assert not verdicts["file_waiting_to_be_collected"]


def test_a_test_that_cleans_up_passes(verdicts: dict[str, str]) -> None:
    assert not verdicts["clean"]
