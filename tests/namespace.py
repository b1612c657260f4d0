"""Run Python code in new user, network and mount namespaces, with a hosts file and a resolv.conf of their own."""

import subprocess
from pathlib import Path

import pytest

from tests.programs import PYTHON

# unshare(1), mount(8): $0 and $1 are the hosts file and the resolv.conf, the rest is the command.
NAMESPACE = (
    *("unshare", "-Urnm", "sh", "-ec"),
    'mount --bind "$0" /etc/hosts; mount --bind "$1" /etc/resolv.conf; shift; exec "$@"',
)
RESOLVER = "nameserver 127.0.0.1\noptions timeout:30 attempts:2\n"  # a minute for a name without an answer
TIMEOUT = 100  # seconds for all that runs in the namespace
LOCALHOST = "127.0.0.1 localhost\n"

COMMON = """
import os, signal, socket, subprocess, sys, time
def ip(words): subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)
def start(*words):
    command = [sys.executable, "-m", "halloo", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
def show(process, began):
    output, _ = process.communicate(timeout=60)
    print(process.returncode, "quick" if time.monotonic() - began < 8 else "slow", output.decode().rstrip())
try:
    ip("link set lo up")
except (OSError, subprocess.CalledProcessError) as error:
    sys.exit(f"no ip(8): {error}")
"""


def in_namespace(tmp_path: Path, code: str, hosts: str = LOCALHOST) -> str:
    """Run Python code in the namespace, and return what it prints."""
    files = tmp_path / "hosts", tmp_path / "resolv.conf"
    for file, text in zip(files, (hosts, RESOLVER), strict=True):
        file.write_text(text)
    command = [*NAMESPACE, *map(str, files), PYTHON, "-c", COMMON + code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs namespaces of its own, mount(8) and ip(8): {done.stderr[-200:]}")
    assert not done.returncode, done.stderr
    return done.stdout
