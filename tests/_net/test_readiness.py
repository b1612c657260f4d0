import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from halloo._net.readiness import (
    Awaited,
    Steps,
    deadline_ns,
    run_steps,
    sharp_timers,
    until_readable,
    until_writable,
    wait,
)
from tests.peers import datagram_socket

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


def fill(sock: socket.socket) -> None:
    """Send until the system takes no more."""
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_a_socket_without_data_is_not_readable_in_time(pair: Pair, timeout: float) -> None:
    assert not until_readable([pair[0]], timeout)


@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_a_socket_with_data_is_readable(pair: Pair, timeout: float | None) -> None:
    near, far = pair
    far.send(b"!")
    assert list(until_readable([near], timeout)) == [near]


def test_a_socket_whose_peer_has_closed_is_readable(pair: Pair) -> None:
    near, far = pair
    far.close()
    assert list(until_readable([near], None)) == [near]


def test_only_the_readable_ones_are_given(pair: Pair) -> None:
    near, far = pair
    far.send(b"!")
    assert list(until_readable([near, far], 0)) == [near]


def test_all_the_readable_ones_are_given(pair: Pair) -> None:
    near, far = pair
    near.send(b"!")
    far.send(b"!")
    assert list(until_readable([near, far], 0)) == [near, far]


def test_data_that_comes_during_the_waiting_ends_it(pair: Pair) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(until_readable, [near], 10)
        far.send(b"!")
        assert list(waiting.result()) == [near]


@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_a_socket_with_room_is_writable(pair: Pair, timeout: float | None) -> None:
    assert until_writable(pair[0], timeout)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_full_socket_is_not_writable_in_time(pair: Pair, timeout: float) -> None:
    near, _ = pair
    fill(near)
    assert not until_writable(near, timeout)


def test_a_full_socket_whose_peer_has_closed_is_writable_so_that_the_error_is_met(pair: Pair) -> None:
    near, far = pair
    fill(near)
    far.close()
    assert until_writable(near, None)


# Steps.


def asking(sock: socket.socket, closed: list[bool], until_ns: int | None) -> Steps[str]:
    """Wait until it takes something, and then for what comes."""
    try:
        assert (yield Awaited(sock, True, until_ns))
        sock.send(b"?")
        return "answered" if (yield Awaited(sock, False, until_ns)) else "nothing came"
    finally:
        closed.append(True)


def test_steps_are_taken_to_their_end(pair: Pair) -> None:
    near, far = pair
    far.send(b"!")
    closed: list[bool] = []
    assert run_steps(asking(near, closed, None)) == "answered"
    assert (far.recv(10), closed) == (b"?", [True])


def test_a_step_is_told_when_its_time_is_over(pair: Pair) -> None:
    assert run_steps(asking(pair[0], [], deadline_ns(0.01))) == "nothing came"


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_whoever_is_interrupted_closes_what_the_steps_had_open(pair: Pair) -> None:
    near, far = pair
    far.setblocking(True)
    closed: list[bool] = []

    def interrupt() -> None:
        assert far.recv(10) == b"?"
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_steps(asking(near, closed, deadline_ns(10)))
    thread.join()
    assert closed == [True]


def test_a_moment_is_of_the_steady_clock() -> None:
    before = time.monotonic_ns()
    found = deadline_ns(5)
    assert found
    assert before + 5 * 10**9 <= found <= time.monotonic_ns() + 5 * 10**9
    assert [deadline_ns(never) for never in (None, float("inf"), 1e300)] == [None, None, None]


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
