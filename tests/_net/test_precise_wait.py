"""Waiting for descriptors to the microsecond, more of them than select(2) knows, and where there is no poll(2)."""

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from halloo._net.precise_wait import sharp_timers, wait
from tests.peers import datagram_socket

WAIT = 10.0  # seconds that no test takes


def test_more_descriptors_than_select_knows_are_waited_for_as_well() -> None:
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2000 and hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("needs 2000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    near, far = socket.socketpair()
    with near, far:
        high = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 1500)
        try:
            assert wait([high], [], 0) == set()
            assert wait([high], [high], WAIT) == {high}
            far.send(b"x")
            assert wait([high], [], WAIT) == {high}
        finally:
            os.close(high)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_there_is_no_poll_select_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.poll", raising=False)
    with datagram_socket() as box, datagram_socket() as sender:
        sender.sendto(b"x", box.getsockname())
        assert wait([box.fileno()], [], WAIT, select_below=0) == {box.fileno()}


@pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")
def test_timers_are_sharp_meanwhile_and_as_before_afterwards() -> None:
    def slack() -> str:
        return Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text(encoding="ascii")

    before = slack()
    with sharp_timers():
        assert int(slack()) == 1
    assert slack() == before


@pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")
def test_timers_of_another_thread_than_the_main_one_are_sharp_too() -> None:
    threads = [threading.Thread(target=test_timers_are_sharp_meanwhile_and_as_before_afterwards)]
    failures: list[object] = []
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        for thread in threads:
            thread.start()
            thread.join()
    finally:
        threading.excepthook = before
    assert failures == []
