import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from halloo._net.readiness import (
    SELECT_BELOW,
    Awaited,
    Steps,
    WatchList,
    deadline_ns,
    run_steps,
    sharp_timers,
    until_readable,
    until_ready,
    wait,
)
from tests.conditions import TIMEOUT
from tests.peers import datagram_socket

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    sock, peer = socket.socketpair()
    with sock, peer:
        sock.setblocking(False)
        peer.setblocking(False)
        yield sock, peer


@contextmanager
def above_the_limit_of_select(sock: socket.socket) -> Iterator[socket.socket]:
    """Duplicate a socket to a descriptor for which `wait` has to use poll(2)."""
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2000 and hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("needs 2000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    try:
        with socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 1500)) as high:
            yield high
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_only_readable_sockets_are_returned(pair: Pair) -> None:
    sock, peer = pair
    for timeout in (0, 0.01, -1):
        assert until_readable([sock], timeout) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(until_readable, [sock], 10)
        peer.send(b"!")
        assert waiting.result() == [sock]
    for forever_or_not in (None, 0, 5):
        assert until_readable([sock, peer], forever_or_not) == [sock]
    sock.send(b"!")
    assert until_readable([sock, peer], 0) == [sock, peer]
    assert sock.recv(10) == b"!"
    peer.close()
    assert until_readable([sock], None) == [sock]


def test_only_writable_sockets_are_returned(pair: Pair) -> None:
    sock, peer = pair
    assert wait([], [sock.fileno()], 5)
    assert until_ready([sock], [sock], 0) == [sock]
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))
    for timeout in (0, 0.01):
        assert not wait([], [sock.fileno()], timeout)
    peer.close()
    assert wait([], [sock.fileno()], 5)


@pytest.mark.skipif(os.name == "nt", reason="on Windows it cannot be told from a failed connect")
def test_an_urgent_byte_makes_a_socket_neither_readable_nor_writable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
        listener.accept()[0] as peer,
    ):
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sock.send(bytes(65536))
        assert until_ready([sock], [sock], 0) == []
        peer.send(b"!", socket.MSG_OOB)
        assert select.select([], [], [sock], TIMEOUT)[2] == [sock]
        for limit in (0, SELECT_BELOW):
            assert wait([sock.fileno()], [sock.fileno()], 0, select_below=limit) == set()


def test_less_than_a_millisecond_is_not_spent_polling(pair: Pair) -> None:
    sock, _ = pair
    with above_the_limit_of_select(sock) as high:
        before = time.thread_time()
        for _ in range(200):
            assert until_readable([high], 0.0009) == []
        assert time.thread_time() - before < 200 * 0.0009 / 2


# Steps.


def question(sock: socket.socket, closed: list[bool], until_ns: int | None) -> Steps[str]:
    """Wait until the socket is writable, send a question, and wait for an answer."""
    try:
        assert (yield Awaited([sock], True, until_ns))
        sock.send(b"?")
        return "answered" if (yield Awaited([sock], False, until_ns)) else "nothing came"
    finally:
        closed.append(True)


def test_run_steps_runs_a_generator_to_its_end(pair: Pair) -> None:
    sock, peer = pair
    assert run_steps(question(sock, [], deadline_ns(0.01))) == "nothing came"
    peer.send(b"!")
    closed: list[bool] = []
    assert run_steps(question(sock, closed, None)) == "answered"
    assert (peer.recv(10), closed) == (b"??", [True])


@pytest.mark.skipif(os.name == "nt", reason="on Windows os.kill ends the process")
def test_an_interrupt_closes_the_steps(pair: Pair) -> None:
    sock, peer = pair
    peer.setblocking(True)
    closed: list[bool] = []

    def interrupt() -> None:
        assert peer.recv(10) == b"?"
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_steps(question(sock, closed, deadline_ns(10)))
    thread.join()
    assert closed == [True]


def test_deadlines_use_the_monotonic_clock() -> None:
    before = time.monotonic_ns()
    deadline = deadline_ns(5)
    assert deadline
    assert before + 5 * 10**9 <= deadline <= time.monotonic_ns() + 5 * 10**9
    assert [deadline_ns(never) for never in (None, float("inf"), 1e300)] == [None, None, None]


def test_wait_accepts_descriptors_above_the_limit_of_select(pair: Pair) -> None:
    sock, peer = pair
    with above_the_limit_of_select(sock) as high:
        number = high.fileno()
        assert wait([number], [], 0) == set()
        assert wait([number], [number], TIMEOUT) == {number}
        peer.send(b"x")
        assert wait([number], [], TIMEOUT) == {number}


@pytest.fixture(params=["few", "epoll", "portable"])
def watch_list(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchList]:
    if request.param == "portable":
        monkeypatch.delattr("select.epoll", raising=False)
    elif request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("needs epoll(7)")
    with closing(WatchList() if request.param == "few" else WatchList(few=0)) as watch_list:
        yield watch_list


def test_a_watch_list_waits_for_its_descriptors_and_for_others(watch_list: WatchList, pair: Pair) -> None:
    sock, peer = pair
    watch_list.add(sock.fileno())
    assert watch_list.wait([], [], 0) == set()
    assert watch_list.wait([], [peer.fileno()], TIMEOUT) == {peer.fileno()}
    peer.send(b"!")
    assert watch_list.wait([peer.fileno()], [], TIMEOUT) == {sock.fileno()}
    watch_list.remove(sock.fileno())
    assert watch_list.wait([sock.fileno()], [], TIMEOUT) == {sock.fileno()}
    assert watch_list.wait([], [], 0) == set()
    number = sock.fileno()
    watch_list.add(number, writing=True)
    assert watch_list.wait([], [], TIMEOUT) == {number}
    for each in pair:
        each.close()
    watch_list.remove(number)
    assert watch_list.wait([], [], 0) == set()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll(7)")
def test_a_watch_list_of_many_is_one_descriptor_to_wait_for(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    waited: list[int] = []

    def select_counting(reading: list[int], *_others: object) -> tuple[list[int], list[int], list[int]]:
        waited.append(len(reading))
        return reading, [], []

    with closing(WatchList(few=1)) as watch_list:
        for sock in pair:
            watch_list.add(sock.fileno())
        monkeypatch.setattr("select.select", select_counting)
        watch_list.wait([], [], 0)
    assert waited == [1]


def test_wait_uses_select_where_poll_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.poll", raising=False)
    with datagram_socket() as receiver, datagram_socket() as sender:
        sender.sendto(b"x", receiver.getsockname())
        assert wait([receiver.fileno()], [], TIMEOUT, select_below=0) == {receiver.fileno()}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has timer slack")
def test_sharp_timers_sets_and_restores_the_timer_slack_of_any_thread() -> None:
    def slack() -> str:
        return Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text(encoding="ascii")

    def sharpened() -> tuple[str, int, str]:
        before = slack()
        with sharp_timers():
            during = int(slack())
        return before, during, slack()

    with ThreadPoolExecutor(1) as pool:
        for before, during, after in (sharpened(), pool.submit(sharpened).result()):
            assert (during, after) == (1, before)
