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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc/self/fd and fork")
def test_what_a_test_leaves_behind_is_named_and_only_that_test_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-W", "ignore"]
    wide = os.environ | {"COLUMNS": "500"}  # otherwise pytest truncates the reasons
    output = subprocess.run(argv, cwd=tmp_path, env=wide, capture_output=True, text=True, check=False).stdout
    blamed = dict(re.findall(r"^ERROR \S+::test_(\w+) - Failed: left behind: (.*)", output, re.MULTILINE))
    passed = set(re.findall(r"^PASSED \S+::test_(\w+)", output, re.MULTILINE))
    assert blamed.pop("descriptor") == "descriptor of /dev/zero"
    assert blamed.pop("second_descriptor_of_the_same_file") == "descriptor of /dev/zero, descriptor of /dev/zero"
    assert blamed.pop("socket").startswith("descriptor of socket:")
    assert blamed.pop("thread") == "thread 'idler'"
    assert "child process " in blamed.pop("child")
    assert blamed.pop("child_that_was_not_waited_for").startswith("child process ")
    assert blamed == {}
    innocent = {"after_a_thread_was_left", "thread_about_to_end", "file_waiting_to_be_collected", "clean"}
    assert innocent <= passed
