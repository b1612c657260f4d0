"""Stream cases of failing clients: resets, closes and half-closes at the wrong moment, and exhausted resources.

Uses clients and the server's process. The next client must always be served, and no descriptor or process may leak.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress

from halloo._check.case import PROCESS, UNENCRYPTED, Failed, Skipped, Warned
from halloo._check.payload import KIB, MIB
from halloo._check.processes import descriptors
from halloo._check.server.program import Program
from halloo._check.server.stream_client import StreamClient, mismatch
from halloo._check.server.target import ServerTarget, case
from halloo._check.sockets import begin_connecting, unacknowledged, unconnected_socket

SHORT_QUEUE = 2  # clients that fit into the queue of listen(1)
MAX_GROWTH = 5  # descriptors, or zombies, that a server may keep
SETTLE_TIME = 2.0  # seconds
DESCRIPTOR_LIMIT = 64  # descriptors
RECOVERY_TIME = 1.5  # seconds
OVERLOAD_TIME = 2.0  # seconds: some servers retry after one second, and then in a busy loop
LINE = b"hello\n"  # a client that gets an echo has been accepted: what follows does not affect accept()


@case("MUST", "the next client is served", "a client may vanish: RFC 9293 3.10.7", "T05 T35")
def t18_rst_mid(target: ServerTarget) -> None:
    """A client has a line echoed, sends 100 KB and resets the connection; ten times."""
    _send_and_reset(target, 10, target.payload(100_000))


def _send_and_reset(target: ServerTarget, count: int, data: bytes) -> None:
    for _ in range(count):
        with target.connect() as client:
            client.roundtrip(LINE, quiet_time=0)
            client.send_until_blocked(data)
            client.reset()
    target.check_served()


@case("MUST", "the next client is served", "RFC 1122 4.2.2.13; SIGPIPE", "T05 T35")
def t19_close_unread(target: ServerTarget) -> None:
    """A client sends 200 KB and closes with the reply unread; ten times."""
    for _ in range(10):
        with target.connect() as client:
            client.send_until_blocked(target.payload(200_000))
            client.wait(1)
    target.check_served()


@case("MUST", "the next client is served", "gnet#453; ECONNABORTED", "T35")
def t20_rst_before_accept(target: ServerTarget) -> None:
    """20 clients connect and reset; after every two, or one if its queue is full, another one sends a line."""
    for _ in range(20 // SHORT_QUEUE):
        with target.suspended(), suppress(Failed):
            for _ in range(SHORT_QUEUE):
                with target.connect_idle() as client:
                    client.reset()
        target.await_accepted()
        target.check_served()


@case("MUST", "clients are served; at most 5 more descriptors and 5 more zombies", "leaks", "T10 T35", PROCESS)
def t21_connect_close(target: ServerTarget) -> None:
    """50 clients connect and close; after each of them another one sends a line."""

    def connect_and_close() -> None:
        for _ in range(50):
            target.connect().close()
            target.await_accepted()
            target.check_served()

    program = target.program
    target.check_served()
    zombies = program.tree.zombies()
    _check_no_leak(program, connect_and_close)
    if not program.wait_until(lambda: program.tree.zombies() <= zombies + MAX_GROWTH, SETTLE_TIME):
        raise Failed(
            f"after 100 connections there are {program.tree.zombies() - zombies} more zombies", pattern="zombies"
        )


@case("MUST", "at most 5 more descriptors", "leaks on error", "T05 T21", PROCESS)
def t22_data_rst_leak(target: ServerTarget) -> None:
    """A client has a line echoed, sends 2 KB and resets the connection; 100 times."""
    target.check_served()
    _check_no_leak(target.program, lambda: _send_and_reset(target, 100, target.payload(2000)))


def _check_no_leak(program: Program, act: Callable[[], None]) -> None:
    """Check that an action leaks no descriptors; they may grow once, as a pool does, but not again."""

    def grown(before: int) -> bool:
        act()
        return not program.wait_until(lambda: program.tree.total(descriptors) <= before + MAX_GROWTH, SETTLE_TIME)

    first = program.tree.total(descriptors)
    if grown(first) and grown(then := program.tree.total(descriptors)):
        raise Failed(f"{first} descriptors before, then {then}, then {program.tree.total(descriptors)}", pattern="leak")


@case(
    "SHOULD",
    "the old client is served meanwhile, new ones within 1.5 s after the others close; at most 50 % of a core",
    "cpython#151615; twisted#5368; wai#928; accept(2)",
    "T13 T21",
    PROCESS,
    alone=True,
    schemes=UNENCRYPTED,
)
def t29_emfile(target: ServerTarget) -> str:
    """Limit the server to 64 descriptors, and connect 100 clients for each of its processes."""
    target.restart(descriptors=DESCRIPTOR_LIMIT)
    with target.connect() as old:
        old.roundtrip(b"I was here first\n")
        with ExitStack() as waiting:
            for _ in range(100 * len(target.program.tree.running())):
                # Slowly enough for a short queue; those that find it full keep waiting.
                sock = waiting.enter_context(unconnected_socket(target.address))
                sock.setblocking(False)
                begin_connecting(sock, target.address)
                target.program.pause(0.005)
            load = target.program.cpu_load(OVERLOAD_TIME, demand=True)
            elapsed = old.roundtrip(b"and I still am\n", quiet_time=0)
        recovery = _recovery_time(target)
        old.roundtrip(b"even now\n")
    measured = f"{load:.0%} of a core, old client {elapsed * 1000:.1f} ms, recovered after {recovery * 1000:.0f} ms"
    if load > 0.5:
        raise Warned(measured)
    return measured


def _recovery_time(target: ServerTarget) -> float:
    """Check that a new client is served; retry, as a server may reject it until it has noticed the closed ones."""
    began = target.clock()
    while True:
        try:
            target.check_served(RECOVERY_TIME)
        except Failed as failure:
            if target.clock() - began > RECOVERY_TIME:
                raise failure.in_context("after the others had closed", pattern="unserved") from failure
            target.program.pause(0.05)
        else:
            break
    if (elapsed := target.clock() - began) > RECOVERY_TIME:
        raise Failed(f"a new client waited {elapsed:.1f} s after the others had closed", pattern="unserved")
    return elapsed


@case(
    "MUST",
    "no byte is lost",
    "signal(7): a stop signal makes a blocked send partial",
    "T05 T10",
    PROCESS,
    schemes=UNENCRYPTED,
)
def t33_freeze(target: ServerTarget) -> str:
    """Stop and continue the server (SIGSTOP, SIGCONT) three times while its send is blocked."""
    target.require_plain_echo()
    data = target.payload(24 * MIB)
    with target.connect() as client:
        sent, received = client.send_until_blocked(data), b""
        for _ in range(3):
            with target.program.suspended():
                target.program.pause(0.1)
            target.program.pause(0.1)
            received += client.receive(min(MIB, sent - len(received)))
            sent += client.send_until_blocked(data[sent:], 0.1)
        client.half_close()
        received += client.receive(sent - len(received), 8)
        if received != data[:sent]:
            raise mismatch(data[:sent], received)
        client.expect_eof()
        return f"{sent / MIB:.1f} MiB"


@case(
    "MUST",
    "clients are served; at most 5 more descriptors",
    "a client may vanish while it is answered",
    "T05 T10 T18 T22",
    PROCESS,
)
def t48_fin_then_rst(target: ServerTarget) -> None:
    """A client has a line echoed, sends 32 KiB or 1 MiB, half-closes and resets with the reply pending; ten times each.

    The server is stopped between half-close and reset, so that both reach it at once.
    """

    def half_close_and_reset() -> None:
        for size in (32 * KIB, MIB) * 10:  # with 32 KiB the server waits to receive, with 1 MiB its send blocks
            with target.connect(receive_buffer=4 * KIB) as client:
                client.roundtrip(LINE, quiet_time=0)
                client.send_until_blocked(target.payload(size), 0.05)
                _wait_acknowledged(client)
                with target.program.suspended():
                    client.half_close()
                    client.reset()
        target.check_served()

    target.check_served()
    _check_no_leak(target.program, half_close_and_reset)


def _wait_acknowledged(client: StreamClient) -> None:
    """Wait until the server's kernel has the data, or 0.1 s if it applies backpressure: a reset discards the rest."""
    deadline = client.clock() + 0.1
    while unacknowledged(client.raw) and client.clock() < deadline:
        client.wait(0.002, read=False)


@case("INFO", "new clients are served within 1 s; the number of failures", "prefork servers", "T35", PROCESS)
def t45_worker_kill9(target: ServerTarget) -> str:
    """Kill one child process (SIGKILL), and connect new clients for 2 s."""
    serving = target.program.listening_pids()
    children = [pid for pid in serving if pid != target.program.pid]
    if not children or len(serving) == 1:
        raise Skipped("the server does not have several processes that serve clients")
    target.check_served()
    os.kill(children[0], signal.SIGKILL)
    failures, worst, ends = 0, 0.0, target.clock() + 2
    while target.clock() < ends:
        try:
            worst = max(worst, target.check_served(1))
        except Failed:
            failures += 1
    if failures > 1 or worst > 1:
        raise Failed(f"after the kill {failures} clients were not served within 1 s; slowest {worst:.2f} s")
    return f"{failures} failures, slowest {worst * 1000:.0f} ms"


@case("SHOULD", "no stall", "print() for each message", "T05", PROCESS)
def t46_stdout_full(target: ServerTarget) -> None:
    """Echo 2 MiB in messages of 1 KiB while the server's output is not read."""
    target.restart(output="unread")
    data = target.payload(2 * MIB)
    with target.connect() as client:
        for offset in range(0, len(data), KIB):
            client.roundtrip(data[offset : offset + KIB], quiet_time=0)
        client.expect_silence()


@case("SHOULD", "clients are still served", "EPIPE in logging", "T35", PROCESS)
def t47_stdout_closed(target: ServerTarget) -> None:
    """Close the read end of the server's output pipe; then start the server with its output closed."""
    target.restart(output="unread")
    target.program.close_output_reader()
    for _ in range(3):
        target.check_served()
    target.restart(output="closed")
    for _ in range(3):
        target.check_served()
