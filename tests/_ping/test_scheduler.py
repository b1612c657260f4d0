"""Scheduled probes over real sockets, some with a clock driven by the test."""

import os
import select
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from random import Random

import pytest

from halloo._core.limits import Limits
from halloo._core.probe import read_header
from halloo._core.tls_options import ClientTLS
from halloo._core.units import SECOND
from halloo._net.readiness import until_readable
from halloo._net.signals import StopRequest
from halloo._net.socket_options import SocketOptions
from halloo._ping.config import PingConfig
from halloo._ping.delays import Instant
from halloo._ping.flow import Connecting, Flow
from halloo._ping.receiver import MAX_SURPLUS, SURPLUS
from halloo._ping.report import DirectionalLoss, ProbeEvent, TargetReport
from halloo._ping.scheduler import MIN_STRAGGLER_WAIT, Scheduler
from halloo._ping.sender import ERROR_PAUSE
from halloo._server.server import Server
from tests._ping.flows import MS, TIMEOUT, make_flow
from tests.conditions import linux
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import (
    datagram_flood,
    datagram_peer,
    echo_datagram,
    echoing,
    flooding,
    full,
    peer,
    reset,
    silent,
    unused_datagram_port,
    unused_port,
)
from tests.relay import RelayDirection, relay

SHORT_TIMEOUT = 0.05  # seconds, for replies that never arrive


def slowly(seconds: float) -> Callable[[bytes], list[bytes]]:
    """Answer datagrams as an echo server does, that many seconds later."""

    def answer(datagram: bytes) -> list[bytes]:
        threading.Event().wait(seconds)
        return [datagram]

    return answer


class TickingClock:
    """Clocks that advance by a step at each reading."""

    def __init__(self, step: int) -> None:
        self.now, self.step = 1000 * MS, step

    def __call__(self) -> Instant:
        self.now += self.step
        return Instant(self.now, self.now)


class Harness:
    """A scheduler with its events and its stop request."""

    def __init__(
        self,
        *flows: Flow,
        count: int | None = 3,
        interval: int = 0,
        deadline: int | None = None,
        clock: Callable[[], Instant] | None = None,
    ) -> None:
        self.flows = flows
        self.events: list[ProbeEvent] = []
        self.stop_request = StopRequest()
        self.on_event: Callable[[ProbeEvent], object] = self.events.append
        ticking: dict[str, Callable[[], Instant]] = {} if clock is None else {"clock": clock}
        config = PingConfig(
            count=count,
            interval=interval / SECOND,
            deadline=None if deadline is None else deadline / SECOND,
            busy_poll=clock is not None,  # a test's clock does not advance while waiting, so that it is polled instead
        )
        self.scheduler = Scheduler(flows, config, self.stop_request, self._on_event, **ticking)
        self.schedule = self.scheduler.schedule

    def _on_event(self, event: ProbeEvent) -> None:
        self.on_event(event)  # a test may replace it

    def stop_when(self, condition: Callable[[ProbeEvent], object]) -> None:
        """Request a stop once an event meets a condition."""

        def on_event(event: ProbeEvent) -> None:
            self.events.append(event)
            self.stop_request.stop = self.stop_request.stop or bool(condition(event))

        self.on_event = on_event

    def run(self, on_info_request: Callable[[], object] = int) -> "Harness":
        with closing(self.stop_request), closing(self.scheduler):
            self.scheduler.open()
            self.scheduler.run(on_info_request)
            self.scheduler.refresh()
        return self

    @property
    def targets(self) -> list[TargetReport]:
        return [each.tracker.report() for each in self.flows]

    def numbers(self, outcome: str) -> set[int | None]:
        return {event.number for event in self.events if event.outcome == outcome}

    def outcomes(self) -> Counter[str]:
        return Counter(event.outcome for event in self.events)


# Exact loss, duplication and reordering.


def number(datagram: bytes) -> int:
    heading = read_header(datagram)
    assert heading
    return heading.number


@contextmanager
def lossy_relay(seed: int, count: int) -> Iterator[tuple[int, RelayDirection, RelayDirection]]:
    """Run a relay that loses, duplicates and holds back probes except the last ones, which reveal all losses."""
    random = Random(seed)  # noqa: S311 - to be repeated

    def path() -> RelayDirection:
        return RelayDirection(
            random, drop=0.1, duplicate=0.1, hold=0.1, exempt=lambda datagram: number(datagram) >= count - 20
        )

    forward, reverse = path(), path()
    with (
        Server("udp://127.0.0.1:0", timestamps=True) as server,
        # The first reply is slow, so that the wait for stragglers is long enough on any machine.
        relay(server.address.port, forward, reverse, first_delay=0.3) as port,
    ):
        yield port, forward, reverse


def order(delivered: Iterable[bytes]) -> tuple[int, int, int]:
    """Count the probes, the duplicates, and those that arrived after a later one."""
    seen: list[int] = []
    reordered = 0
    numbers = [number(datagram) for datagram in delivered]
    for each in numbers:
        if each not in seen:
            reordered += any(each < other for other in seen)
            seen.append(each)
    return len(seen), len(numbers) - len(seen), reordered


def test_loss_duplication_and_reordering_are_counted_exactly_and_located_by_timestamps() -> None:
    with lossy_relay(1, 200) as (port, forward, reverse):
        harness = Harness(make_flow(f"udp://127.0.0.1:{port}", timeout=2), count=200, interval=MS).run()
    (target,) = harness.targets
    received, copies, reordered = order(reverse.delivered)
    assert copies > 10
    assert reordered > 5
    assert (target.sent, target.received, target.lost) == (200, received, 200 - received)
    assert (target.duplicate, target.reordered) == (copies, reordered)
    assert (target.late, target.corrupt, target.stray, target.errors) == (0, 0, 0, {})
    arrived, answered = (({number(datagram) for datagram in way.delivered}) for way in (forward, reverse))
    lost_forward, lost_reverse = {*range(200)} - arrived, arrived - answered
    assert lost_forward
    assert lost_reverse
    ways = {event.number: event.way for event in harness.events if event.outcome == "lost"}
    assert ways == dict.fromkeys(lost_forward, "forward") | dict.fromkeys(lost_reverse, "reverse")
    assert target.timestamps
    assert target.timestamps.lost == DirectionalLoss(
        forward=len(lost_forward), reverse=len(lost_reverse), refused=0, unknown=0
    )


def test_refused_probes_are_not_network_losses() -> None:
    limits = Limits(rate_limit=128 * 40)  # a burst of ten, then one each 25 ms
    with Server("udp://127.0.0.1:0", timestamps=True, limits=limits) as server:
        harness = Harness(make_flow(server.address, timeout=1), count=100, interval=MS).run()
    (target,) = harness.targets
    assert target.timestamps
    ways = target.timestamps.lost
    assert ways
    assert target.lost > 50
    assert (ways.forward, ways.reverse, ways.refused + ways.unknown) == (0, 0, target.lost)
    assert ways.refused > 0


@pytest.mark.parametrize("interval", [MS, 0])
def test_a_server_without_timestamps_names_its_rate_limit(interval: int) -> None:
    limits = Limits(rate_limit=128 * 40)  # as above
    with Server("udp://127.0.0.1:0", limits=limits) as server:
        harness = Harness(make_flow(server.address, timeout=1), count=100 if interval else 12, interval=interval)
        (target,) = harness.run().targets
    assert target.errors == {"RateLimited": target.errors["RateLimited"]}
    assert 0 < target.rate_limited <= target.lost
    assert target.corrupt == target.stray == 0


# Clocks.


@pytest.mark.parametrize("step", [-3_600_000, -1, 1, 3_600_000])
def test_wall_clock_steps_do_not_distort_round_trips(step: int) -> None:
    reads = iter(range(1_000_000))
    start = time.monotonic_ns()

    def clock() -> Instant:
        return Instant(time.monotonic_ns(), time.time_ns() + next(reads) * step * MS)

    with Server("127.0.0.1:0", "udp://127.0.0.1:0", timestamps=True) as server:
        flows = [make_flow(address, index) for index, address in enumerate(server.addresses)]
        harness = Harness(*flows, count=20, clock=clock).run()
    passed = time.monotonic_ns() - start
    assert harness.outcomes() == {"reply": 40}
    for target in harness.targets:
        assert target.round_trip
        assert 0 <= target.round_trip.min_ns <= target.round_trip.max_ns <= passed
        assert target.timestamps
        assert (target.timestamps.forward, target.timestamps.reverse) == (None, None)


@pytest.mark.parametrize("reconnect", [False, True])
def test_each_probe_expires_before_the_next_is_sent_without_a_burst(reconnect: bool) -> None:
    for step in (999_983, 1_000_000, 7_000_000):
        sent: list[tuple[int | None, int]] = []
        with silent() as port:
            one = make_flow(f"127.0.0.1:{port}", timeout=SHORT_TIMEOUT, reconnect=reconnect)
            harness = Harness(one, count=20, clock=TickingClock(step))
            harness.on_event = lambda event, one=one, sent=sent: sent.append((event.number, one.tracker.counters.sent))  # type: ignore[misc]  # binds this turn's values
            harness.run()
        assert sent == [(each, each + 1) for each in range(20)]


def test_after_a_refused_probe_the_next_one_is_delayed() -> None:
    tcp = f"127.0.0.1:{unused_port()}"
    for address, mode in (
        (tcp, {}),
        (tcp, {"reconnect": True}),
        (tcp, {"connect": True}),
        (f"udp://127.0.0.1:{unused_datagram_port()}", {}),
    ):
        one = make_flow(address, timeout=1, **mode)
        (target,) = Harness(one, count=None, deadline=1000 * MS, clock=TickingClock(MS)).run().targets
        assert 2 <= target.sent <= 1000 * MS // ERROR_PAUSE + 1
        assert (target.received, set(target.errors)) == (0, {"Refused"})


# The schedule.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_impossible_schedule_leaves_time_to_read(scheme: str) -> None:
    with Server(f"{scheme}://127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address), count=None, interval=1)
        harness.stop_when(lambda _: True)
        harness.run()
    assert harness.events[0].outcome == "reply"


def test_targets_take_turns() -> None:
    with Server("127.0.0.1:0") as one, Server("udp://127.0.0.1:0") as other:
        harness = Harness(make_flow(one.address), make_flow(other.address, 1), count=3).run()
    assert [(event.target, event.number) for event in harness.events] == [(n % 2, n // 2) for n in range(6)]


def test_a_slow_target_beside_a_fast_one_is_waited_for() -> None:
    with Server("udp://127.0.0.1:0") as quick, datagram_peer(slowly(0.15)) as port:
        flows = make_flow(quick.address), make_flow(f"udp://127.0.0.1:{port}", 1)
        harness = Harness(*flows, count=1, interval=MS).run()
    assert [target.received for target in harness.targets] == [1, 1]


def calls_per_target(targets: int) -> float:
    """Ping that many targets, and return the number of function calls for each."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with datagram_peer(echo_datagram) as port:
        flows = [make_flow(f"udp://127.0.0.1:{port}", index) for index in range(targets)]
        harness = Harness(*flows, count=2, interval=100 * MS)
        with closing(harness.stop_request), closing(harness.scheduler):
            harness.scheduler.open()
            sys.setprofile(count)
            try:
                harness.scheduler.run()
            finally:
                sys.setprofile(None)
    assert harness.outcomes() == {"reply": 2 * targets}
    return calls / targets


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="elsewhere all descriptors are given to each wait")
def test_the_work_for_a_target_does_not_grow_with_their_number() -> None:
    assert calls_per_target(200) < 2 * calls_per_target(20)


def test_the_wait_for_stragglers_depends_on_the_slowest_reply() -> None:
    answers = iter([True])
    with datagram_peer(lambda datagram: [datagram] if next(answers, False) else []) as port:
        harness = Harness(make_flow(f"udp://127.0.0.1:{port}"), count=2, interval=MS)
        start = time.monotonic()
        harness.run()
    assert harness.outcomes() == {"reply": 1, "lost": 1}
    assert time.monotonic() - start < TIMEOUT


def test_a_deadline_ends_an_unlimited_run() -> None:
    with Server("127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address), count=None, interval=MS, deadline=100 * MS).run()
    (target,) = harness.targets
    assert 1 <= target.received <= target.sent <= 101


def test_a_probe_sent_just_before_the_deadline_is_waited_for() -> None:
    with datagram_peer(slowly(0.05)) as port:
        harness = Harness(make_flow(f"udp://127.0.0.1:{port}"), count=None, interval=80 * MS, deadline=90 * MS).run()
    (target,) = harness.targets
    assert target.sent == target.received >= 1


def test_the_deadline_follows_the_given_clock() -> None:
    with silent() as port:
        clock = TickingClock(MS)
        Harness(make_flow(f"127.0.0.1:{port}"), count=None, interval=100 * MS, deadline=500 * MS, clock=clock).run()
    assert 500 * MS <= clock.now - 1000 * MS <= 520 * MS + MIN_STRAGGLER_WAIT


def test_replies_that_arrived_while_the_client_was_stopped_count() -> None:
    with kernel_timestamps(), Server("127.0.0.1:0") as server:
        one = make_flow(server.address, timeout=1)
        stopped = 0

        def clock() -> Instant:
            nonlocal stopped
            if one.tracker.counters.pending and not stopped and one.connection:
                assert until_readable([one.connection.socket], TIMEOUT)
                stopped = 5000 * MS  # as if the process had been stopped
            return Instant(time.monotonic_ns() + stopped, time.time_ns() + stopped)

        harness = Harness(one, count=1, clock=clock).run()
    assert harness.outcomes() == {"reply": 1}


def test_nothing_is_sent_after_the_deadline() -> None:
    with datagram_peer(slowly(0.2)) as port:
        harness = Harness(make_flow(f"udp://127.0.0.1:{port}"), count=None, deadline=300 * MS).run()
    (target,) = harness.targets
    assert target.sent == target.received >= 1


# Stop and info requests.


@pytest.mark.parametrize("interval", [0, MS])
def test_a_stop_request_ends_the_run_and_pending_replies_count(interval: int) -> None:
    with Server("127.0.0.1:0") as server:
        one = make_flow(server.address)
        harness = Harness(one, count=None, interval=interval)
        harness.stop_when(lambda _: len(harness.events) == 3)
        harness.run()
    assert one.tracker.counters.pending == 0
    assert harness.outcomes() == {"reply": len(harness.events)}
    assert interval or len(harness.events) == 4  # one more was pending already


def test_an_info_request_is_handled_once() -> None:
    snapshots: list[int] = []
    with Server("127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address), count=5)

        def on_event(event: ProbeEvent) -> None:
            if event.number == 2:
                harness.stop_request.look = True

        harness.on_event = on_event
        harness.run(lambda: snapshots.append(harness.targets[0].received))
    assert snapshots == [3]


def test_all_probes_are_settled_although_the_callback_fails() -> None:
    def on_event(_event: ProbeEvent) -> None:
        raise BrokenPipeError

    with silent() as port:
        flows = [make_flow(f"127.0.0.1:{port}", index) for index in range(2)]
        harness = Harness(*flows, count=1, interval=10 * MS, deadline=1000 * MS, clock=TickingClock(MS))
        harness.on_event = on_event
        with pytest.raises(BrokenPipeError):
            harness.run()
    assert [(target.sent, target.lost) for target in harness.targets] == [(1, 1), (1, 1)]


def test_a_stop_request_before_connecting_prevents_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harness = Harness(make_flow(listener.getsockname()))
        harness.stop_request.stop = True
        harness.run()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (harness.events, harness.targets[0].sent) == ([], 0)


class InterruptingOptions(SocketOptions):
    """Raises a signal while connecting."""

    __slots__ = ()

    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        os.kill(os.getpid(), signal.SIGINT)


class InterruptingConfig(PingConfig):
    """Has a signal raised while connecting."""

    __slots__ = ()

    @property
    def socket_options(self) -> SocketOptions:
        return InterruptingOptions()


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_signal_while_connecting_closes_everything(scheme: str) -> None:
    with Server(f"{scheme}://127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address), make_flow(server.address, 1))
        harness.flows[0].config = InterruptingConfig()
        with harness.stop_request.of_signals():
            harness.run()
    assert (harness.stop_request.stop, harness.events) == (True, [])
    assert [each.connection for each in harness.flows] == [None, None]


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_a_signal_while_reconnecting_keeps_earlier_results() -> None:
    with Server("127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address, reconnect=True), count=None)

        def on_event(event: ProbeEvent) -> None:
            harness.events.append(event)
            if event.number == 2:
                harness.flows[0].config = InterruptingConfig(reconnect=True)

        harness.on_event = on_event
        with harness.stop_request.of_signals():
            harness.run()
    assert harness.outcomes() == {"reply": 3}
    assert harness.targets[0].sent == 3


# Connections.


@linux
def test_an_unresponsive_target_does_not_delay_probes_to_others() -> None:
    replies = 0
    with Server("127.0.0.1:0") as server, full(room=True) as address:
        # The first connection fills the queue; the second one tries in vain for TIMEOUT seconds.
        dead = make_flow(address, 1, connect=True)
        harness = Harness(make_flow(server.address), dead, count=None, interval=5 * MS)

        def on_event(event: ProbeEvent) -> None:
            nonlocal replies
            replies += event.target == 0 and isinstance(dead.state, Connecting)
            # A turn that the loaded machine missed is late, not skipped, so the run lasts until enough were skipped.
            harness.stop_request.stop = replies >= 9 and harness.schedule.skipped_waiting >= 9

        harness.on_event = on_event
        harness.run()
    good, dead_target = harness.targets
    assert (good.lost, dead_target.sent, dead_target.received) == (0, 1, 1)
    assert (replies >= 9, harness.schedule.skipped_waiting >= 9) == (True, True)
    sent = good.sent + dead_target.sent  # without the one that is connecting
    assert harness.schedule.planned - harness.schedule.late <= sent <= harness.schedule.planned


@linux
def test_a_dead_target_does_not_delay_a_good_one_and_is_reported_at_the_end() -> None:
    with Server("127.0.0.1:0") as server, full() as address:
        dead = make_flow(address, 1)
        harness = Harness(make_flow(server.address), dead, count=None, interval=10 * MS, deadline=300 * MS).run()
    good, dead_target = harness.targets
    assert good.sent == good.received >= 1
    assert (dead_target.sent, dict(dead_target.errors)) == (1, {"TimedOut": 1})
    assert dead_target.failure


@linux
def test_a_probe_still_connecting_at_the_end_is_lost() -> None:
    with full(room=True) as address:  # the first connection fills the queue and completes the first probe
        one = make_flow(address, connect=True)
        harness = Harness(one, count=None, interval=10 * MS, deadline=200 * MS).run()
    (target,) = harness.targets
    assert (target.sent, target.received, target.lost, dict(target.errors)) == (2, 1, 1, {"TimedOut": 1})


def test_a_prepared_probe_is_not_sent_on_an_ended_connection() -> None:
    asked, closed = threading.Event(), threading.Event()

    def answer_once(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000))
        assert asked.wait(TIMEOUT)
        connection.close()
        closed.set()

    def slowly(connection: socket.socket) -> None:
        first = connection.recv(1000)
        asked.set()
        assert closed.wait(TIMEOUT)
        connection.sendall(first)
        echoing(connection)

    with peer(answer_once, echoing) as one, peer(slowly) as other:
        harness = Harness(make_flow(f"127.0.0.1:{one}"), make_flow(f"127.0.0.1:{other}", 1), count=2).run()
    assert harness.outcomes() == {"reply": 4, "error": 1}
    assert [dict(target.errors) for target in harness.targets] == [{"IncompleteRead": 1}, {}]


@linux
def test_a_reply_counts_even_if_sending_the_next_probe_fails() -> None:
    def answer_and_reset(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000))
        reset(connection)

    with peer(answer_and_reset, echoing) as port:
        one = make_flow(f"127.0.0.1:{port}")

        def clock() -> Instant:
            if one.tracker.counters.sent == 1 and one.tracker.counters.pending and one.connection:
                poller = select.poll()
                poller.register(one.connection.socket, 0)
                assert poller.poll(TIMEOUT * 1000)  # the reset
            return Instant(time.monotonic_ns(), time.time_ns())

        harness = Harness(one, count=3, clock=clock).run()
    assert [(event.outcome, event.number) for event in harness.events] == [("reply", 0), ("error", 1), ("reply", 2)]


@linux
@pytest.mark.parametrize("portable", [False, True])
def test_events_name_the_address_in_use_of_several(monkeypatch: pytest.MonkeyPatch, portable: bool) -> None:
    if portable:
        monkeypatch.delattr("select.epoll")

    def resolve(_host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (f"127.0.0.{host}", port)) for host in (2, 1)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with datagram_peer(echo_datagram) as port:
        harness = Harness(make_flow(f"udp://name:{port}"), count=1).run()
    assert [(event.outcome, event.peer) for event in harness.events] == [("reply", f"127.0.0.1:{port}")]
    port = unused_datagram_port()  # all refuse, and the last is pinged on
    harness = Harness(make_flow(f"udp://name:{port}"), count=2, interval=20 * MS).run()
    assert [(event.outcome, event.number) for event in harness.events] == [("error", 0), ("error", 1)]
    assert {event.peer for event in harness.events} == {f"127.0.0.1:{port}"}


def test_reconnect_opens_a_connection_for_each_probe() -> None:
    with Server("127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address, reconnect=True), count=4).run()
        assert server.snapshot().accepted == 4
    (target,) = harness.targets
    assert harness.outcomes() == {"reply": 4}
    assert {name: spread.count for name, spread in target.phases.items()} == {"connect": 4, "first": 4}
    assert target.floor_ns is None or target.floor_ns > 0


def test_a_greeting_on_each_connection_is_not_a_reply_and_one_before_the_first_probe_uses_none() -> None:
    with Server("127.0.0.1:0") as other, Server("127.0.0.1:0", greeting=b"hello there, this is it\n") as server:
        later_target = make_flow(server.address, 1, reconnect=True)
        harness = Harness(make_flow(other.address), later_target, count=2, interval=60 * MS).run()
        assert server.snapshot().accepted == 2
    assert harness.outcomes()["reply"] == 4
    assert harness.targets[1].corrupt == 0


def test_connect_probes_send_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harness = Harness(make_flow(listener.getsockname(), connect=True), count=4).run()
        for _ in range(4):
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == b""
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert harness.outcomes() == {"reply": 4}
    assert harness.targets[0].phases.keys() == {"connect"}
    with Server("127.0.0.1:0") as other, peer(lambda _: None) as port:  # closed before the first turn
        later_target = make_flow(f"127.0.0.1:{port}", 1, connect=True)
        harness = Harness(make_flow(other.address), later_target, count=2, interval=60 * MS).run()
    assert harness.outcomes() == {"reply": 4}


def test_a_reset_found_while_sending_is_one_error_and_the_connection_is_reopened() -> None:
    opened = threading.Event()

    def hang_up(connection: socket.socket) -> None:
        opened.wait(TIMEOUT)
        reset(connection)

    with peer(hang_up) as port:
        one = make_flow(f"127.0.0.1:{port}", timeout=SHORT_TIMEOUT)
        harness = Harness(one, count=2, interval=20 * MS)
        harness.scheduler.open()
        opened.set()
        assert one.connection
        assert until_readable([one.connection.socket], TIMEOUT)  # the reset
        harness.run()
    (target,) = harness.targets
    assert (target.sent, target.lost, dict(target.errors)) == (2, 2, {"Reset": 1})
    assert target.phases["connect"].count == 2


def test_a_server_that_does_not_read_blocks_further_probes() -> None:
    with silent() as port:
        one = make_flow(f"127.0.0.1:{port}", size=65_507, timeout=0.5)
        harness = Harness(one, count=200, interval=MS).run()
    (target,) = harness.targets
    assert set(target.errors) == {"Blocked"}
    assert target.errors["Blocked"] < 200
    assert (target.sent, target.lost) == (200, 200)
    assert target.failure
    assert "stopped reading; use a longer interval between probes" in target.failure


def test_large_probes_are_sent_in_parts() -> None:
    with Server("127.0.0.1:0") as server:
        harness = Harness(make_flow(server.address, size=65_507), count=100, interval=MS // 10).run()
    (target,) = harness.targets
    assert (target.received, target.corrupt) == (100 - target.errors.get("Blocked", 0), 0)
    assert target.received >= 50


# Peers that send without a pause.


@contextmanager
def tls_flood() -> Iterator[str]:
    trustme = pytest.importorskip("trustme")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def flood(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            flooding(secured)

    with peer(flood) as port:
        yield f"tls://127.0.0.1:{port}"


@contextmanager
def flood(scheme: str) -> Iterator[str]:
    """Yield the address of a peer that sends stray or duplicate data without a pause."""
    if scheme == "tls":
        with tls_flood() as address:
            yield address
    elif scheme == "tcp":
        with peer(flooding) as port:
            yield f"127.0.0.1:{port}"
    else:
        with datagram_flood(lambda datagram: datagram if scheme == "duplicate" else b"stray") as port:
            yield f"udp://127.0.0.1:{port}"


@pytest.mark.parametrize("scheme", ["tcp", "tls", "stray", "duplicate"])
def test_a_flood_delays_neither_other_targets_nor_the_timeout_nor_a_stop_request(scheme: str) -> None:
    tls = ClientTLS(insecure=True) if scheme == "tls" else None
    with flood(scheme) as address, Server("127.0.0.1:0") as server:
        flooded = make_flow(address, timeout=SHORT_TIMEOUT, tls=tls)
        one, other = Harness(flooded, make_flow(server.address, 1), count=3, interval=5 * MS).run().targets
    assert [one.sent, other.sent, other.received] == [3, 3, 3]
    assert (one.received, one.lost) == (int(scheme == "duplicate"), 3 - (scheme == "duplicate"))
    with flood(scheme) as address:
        harness = Harness(make_flow(address, timeout=SHORT_TIMEOUT, tls=tls), count=None, interval=5 * MS)
        harness.stop_when(lambda event: event.outcome in SURPLUS)
        harness.run()
    assert harness.stop_request.stop


def test_replies_before_and_behind_stray_data_count() -> None:
    def answer(connection: socket.socket) -> None:
        probe = connection.recv(65536)
        connection.sendall(b"stray\n" * 10 * MAX_SURPLUS + probe + b"stray\n")

    with peer(answer) as port:
        harness = Harness(make_flow(f"127.0.0.1:{port}"), count=1).run()
    assert (harness.targets[0].received, harness.targets[0].lost) == (1, 0)
    assert harness.targets[0].stray >= 10 * MAX_SURPLUS
