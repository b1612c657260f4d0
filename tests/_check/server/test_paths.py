"""Tests of servers that are given by address, over paths that delay or lose what passes: relays on loopback."""

import select
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from queue import SimpleQueue

import pytest

from halloo._check.catalogue import cases
from halloo._check.execution import RunOptions, run_case
from halloo._check.results import Result
from halloo._check.scheduling import run_all
from halloo._check.spec import ServerSpec, parse_transform
from halloo._core.address import Address
from halloo._server.server import Server
from halloo.errors import UsageError
from tests._check.programs import python

CASES = {case.id: case for case in cases()}
ALL = {case.id for case in CASES.values() if case.id[0] != "C" and not case.command_only}


def run(spec: ServerSpec, chosen: Collection[str], *, jobs: int = 4) -> tuple[Result, ...]:
    selected = [case for case in CASES.values() if case.id in chosen and case.runs_over(spec.scheme)]
    return run_all(selected, lambda case: run_case(case, spec, RunOptions()), jobs=jobs)


def failed(results: tuple[Result, ...]) -> dict[str, str]:
    return {each.case.id: each.text for each in results if each.verdict not in ("PASS", "INFO", "SKIP")}


# Streams that are delayed.


never = threading.Event()


def pump(source: socket.socket, sink: socket.socket, delay: float) -> Iterator[threading.Thread]:
    """Pass one direction of a stream on, `delay` seconds later, in two threads."""
    queue = SimpleQueue[tuple[float, bytes]]()

    def receive() -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            queue.put((time.monotonic() + delay, data))

    def send() -> None:
        data = b"-"
        while data:
            due, data = queue.get()
            never.wait(max(due - time.monotonic(), 0))
            with suppress(OSError):
                sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)

    for act in (receive, send):
        yield threading.Thread(target=act, name="relay")


def relay(client: socket.socket, server: tuple[str, int], delay: float) -> None:
    with client, socket.create_connection(server) as other:
        threads = [*pump(client, other, delay), *pump(other, client, delay)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@contextmanager
def delayed(server: tuple[str, int], delay: float) -> Iterator[Address]:
    """Yield the address of a relay that delays both directions of each connection."""
    threads = list[threading.Thread]()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=relay, args=(client, server, delay), name="relay"))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, name="relay")
        accepting.start()
        try:
            yield Address("tcp", *listener.getsockname())
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def test_a_server_behind_a_slow_path_passes() -> None:
    """The replies to five clients take more than their 3 s in all."""
    with Server() as server, delayed((server.address.host or "", server.address.port), 0.3) as address:
        results = run(ServerSpec(address=address), {"T01", "T12", "T13", "T26"})
    assert failed(results) == {}
    assert "a round trip takes at least" in results[-1].text


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_a_server_behind_a_slow_path_passes_all_cases() -> None:
    with Server() as server, delayed((server.address.host or "", server.address.port), 0.3) as address:
        assert failed(run(ServerSpec(address=address), ALL)) == {}


# Datagrams that are lost.


@contextmanager
def losing(server: tuple[str, int], each: int) -> Iterator[Address]:
    """Yield the address of a relay that loses every so many datagrams, of both directions together."""
    numbers, clients, stop = count(1), dict[socket.socket, tuple[str, int]](), threading.Event()
    with ExitStack() as stack, closing(socket.socket(type=socket.SOCK_DGRAM)) as front:
        front.bind(("127.0.0.1", 0))

        def upstream(client: tuple[str, int]) -> socket.socket:
            for sock, known in clients.items():
                if known == client:
                    return sock
            sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            sock.connect(server)
            clients[sock] = client
            return sock

        def turn() -> None:
            while not stop.is_set():
                for sock in select.select([front, *clients], [], [], 0.05)[0]:
                    data, peer = sock.recvfrom(65535)
                    lost = next(numbers) % each == 0
                    if sock is front:
                        lost or upstream(peer).send(data)
                    else:
                        lost or front.sendto(data, clients[sock])

        thread = threading.Thread(target=turn, name="relay")
        thread.start()
        try:
            yield Address("udp", *front.getsockname())
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("each", "chosen"),
    [(12, {"U01", "U04", "U06"}), pytest.param(20, ALL, marks=[pytest.mark.conformance, pytest.mark.timeout(600)])],
)
def test_a_server_behind_a_path_that_loses_datagrams_passes(each: int, chosen: set[str]) -> None:
    with (
        Server("udp://127.0.0.1:0") as server,
        losing((server.address.host or "", server.address.port), each) as address,
    ):
        results = run(ServerSpec(scheme="udp", address=address), chosen, jobs=1)
    assert failed(results) == {}
    assert any("datagrams were not answered" in result.text for result in results)


# A server that loses datagrams on purpose, and replies in capitals, as in a well-known course.
PINGER = """
import random, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
chance = random.Random(5)
while True:
    message, address = s.recvfrom(65535)
    if chance.randint(0, 10) >= 4:
        s.sendto(message.upper(), address)
"""
LOSSY = ServerSpec(scheme="udp", command=python(PINGER), expect=parse_transform("upper"), lossy=True)


def test_a_server_that_loses_datagrams_on_purpose_passes() -> None:
    results = run(LOSSY, {"U01", "U02", "U03", "U04", "U05", "U06", "U07", "U08", "U09", "U14"})
    assert failed(results) == {}
    assert "datagrams were not answered" in {result.case.id: result.text for result in results}["U04"]


def test_a_server_that_may_lose_datagrams_must_not_repeat_join_or_shorten_them() -> None:
    for change, case in (
        ("s.sendto(message.upper(), address)\n" * 2, "U08"),
        ("s.sendto(message.upper()[:512], address)\n", "U04"),
    ):
        changed = PINGER.replace("s.sendto(message.upper(), address)\n", change.replace("\n", "\n        ").rstrip(" "))
        spec = ServerSpec(scheme="udp", command=python(changed), expect=parse_transform("upper"), lossy=True)
        assert [result.verdict for result in run(spec, {case})] == ["FAIL"]


def test_only_a_server_of_datagrams_may_lose_them() -> None:
    with pytest.raises(UsageError, match="is for datagrams, and a stream is checked"):
        ServerSpec(command=("server", "PORT"), lossy=True)
