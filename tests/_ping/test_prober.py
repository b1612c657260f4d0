"""Probes as planned, over real sockets; where the clock is the test's own, so is what passes for time."""

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from random import Random

import pytest

from halloo._core.address import AddressLike, parse
from halloo._core.limits import Limits
from halloo._core.probe import Probes, read
from halloo._net.precise_wait import AWAKE
from halloo._net.readiness import until_readable
from halloo._net.signals import StopRequest
from halloo._net.socket_options import SocketOptions
from halloo._ping.counters import DirectionalLoss
from halloo._ping.flow import ConnectOptions, Flow, ProbeConnection
from halloo._ping.prober import AFTER_ERROR, BEFORE, SHORTEST, Prober
from halloo._ping.report import ProbeEvent, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.tracker import Instant, ProbeTracker
from halloo._server.serve import serving
from halloo.errors import UnknownHost, UsageError
from tests.peers import closing as closing_at_once
from tests.peers import (
    correspondent,
    echoing,
    full,
    hanging_up_midway,
    once,
    peer,
    silent,
    unused_datagram_port,
    unused_port,
)
from tests.relay import Way, relay
from tests.stamped import stamping_kernel

WAIT = 10.0  # seconds that no test takes
BRIEF = 0.05  # seconds in which what never comes is given up
MS = 1_000_000  # nanoseconds
RUN = 0xBEEF


def course(
    place: int,
    address: AddressLike,
    *,
    wait: float = WAIT,
    size: int = 128,
    reconnect: bool = False,
    connect: bool = False,
    marking: SocketOptions | None = None,
) -> Flow:
    run = RUN + place
    lane = ProbeConnection(ConnectOptions(parse(address), wait, marking or SocketOptions()), run=run, size=size)
    target = TargetReport(str(address), str(address), None, None)
    return Flow(lane, ProbeTracker(place, Probes(run, size), int(wait * 1000 * MS), target), reconnect, connect)


class Ticking:
    """Clocks that go on by a step whenever they are read, and by nothing else."""

    def __init__(self, step: int) -> None:
        self.now, self.step = 1000 * MS, step

    def __call__(self) -> Instant:
        self.now += self.step
        return Instant(self.now, self.now)


class Bench:
    """A prober, what it told, and the wish that it heeds."""

    def __init__(
        self,
        *courses: Flow,
        count: int | None = 3,
        interval: int = 0,
        deadline: int | None = None,
        clock: Callable[[], Instant] | None = None,
    ) -> None:
        self.courses = courses
        self.events: list[ProbeEvent] = []
        self.wish = StopRequest()
        self.hear: Callable[[ProbeEvent], object] = self.events.append
        pace = self.pace = Schedule(interval, len(courses), count)
        ticking: dict[str, Callable[[], Instant]] = {} if clock is None else {"clock": clock}
        # With a clock of its own, waiting would be for real time: it looks what there is instead, again and again.
        self.prober = Prober(
            courses, pace, self.wish, self._tell, deadline_ns=deadline, busy_poll=clock is not None, **ticking
        )

    def _tell(self, event: ProbeEvent) -> None:
        self.hear(event)  # a test may put another in its place

    def run(self, look: Callable[[], object] = int) -> "Bench":
        with closing(self.wish), closing(self.prober):
            self.prober.open()
            self.prober.run(look)
            self.prober.look()
        return self

    @property
    def targets(self) -> list[TargetReport]:
        return [each.tracker.report() for each in self.courses]

    def numbers(self, outcome: str) -> set[int | None]:
        return {event.number for event in self.events if event.outcome == outcome}

    def outcomes(self) -> Counter[str]:
        return Counter(event.outcome for event in self.events)


# Loss, copies and order, exactly.


def number(datagram: bytes) -> int:
    heading = read(datagram)
    assert heading
    return heading.number


@contextmanager
def troubled(seed: int, count: int, *, stamp: bool) -> Iterator[tuple[int, Way, Way]]:
    """Give the port of a relay that spares the last probes: whatever happened before, they show it."""
    chance = Random(seed)  # noqa: S311 - to be repeated

    def way() -> Way:
        return Way(chance, drop=0.1, double=0.1, hold=0.1, spares=lambda datagram: number(datagram) >= count - 20)

    there, back = way(), way()
    with (
        serving("udp://127.0.0.1:0", timestamps=stamp) as server,
        # The first answer takes long, so that stragglers are waited for long enough on any machine.
        relay(server.address.port, there, back, first_takes=0.3) as port,
    ):
        yield port, there, back


def order(delivered: Iterable[bytes]) -> tuple[int, int, int]:
    """Count the probes, the copies, and those that came after a later one, by hand."""
    seen: list[int] = []
    reordered = 0
    numbers = [number(datagram) for datagram in delivered]
    for each in numbers:
        if each not in seen:
            reordered += any(each < other for other in seen)
            seen.append(each)
    return len(seen), len(numbers) - len(seen), reordered


@pytest.mark.parametrize("seed", [1, 2])
def test_loss_copies_and_order_are_exactly_what_was_done_on_the_way(seed: int) -> None:
    with troubled(seed, 200, stamp=False) as (port, there, back):
        bench = Bench(course(0, f"udp://127.0.0.1:{port}", wait=2), count=200, interval=MS).run()
    (target,) = bench.targets
    assert there.dropped
    assert back.dropped
    received, copies, reordered = order(back.delivered)
    assert copies > 10
    assert reordered > 5
    assert (target.sent, target.received, target.lost) == (200, received, 200 - received)
    assert (target.duplicate, target.reordered) == (copies, reordered)
    assert (target.late, target.corrupt, target.stray, target.errors) == (0, 0, 0, {})
    assert bench.numbers("lost") == {*range(200)} - {number(datagram) for datagram in back.delivered}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_that_stamps_shows_exactly_on_which_way_each_was_lost(seed: int) -> None:
    with troubled(seed, 200, stamp=True) as (port, there, back):
        bench = Bench(course(0, f"udp://127.0.0.1:{port}", wait=2), count=200, interval=MS).run()
    (target,) = bench.targets
    arrived, answered = (({number(datagram) for datagram in way.delivered}) for way in (there, back))
    lost_there, lost_back = {*range(200)} - arrived, arrived - answered
    assert lost_there
    assert lost_back
    assert target.timestamps
    assert target.timestamps.lost == DirectionalLoss(
        forward=len(lost_there), reverse=len(lost_back), refused=0, unknown=0
    )
    ways = {event.number: event.way for event in bench.events if event.outcome == "lost"}
    assert ways == dict.fromkeys(lost_there, "forward") | dict.fromkeys(lost_back, "reverse")


def test_what_the_server_refuses_is_not_the_networks_loss() -> None:
    limits = Limits(rate_limit=128 * 40)  # ten at once, and then one in 25 ms
    with serving("udp://127.0.0.1:0", timestamps=True, limits=limits) as server:
        bench = Bench(course(0, server.address, wait=1), count=100, interval=MS).run()
    (target,) = bench.targets
    assert target.timestamps
    ways = target.timestamps.lost
    assert ways
    assert target.lost > 50
    assert (ways.forward, ways.reverse, ways.refused + ways.unknown) == (0, 0, target.lost)
    assert ways.refused > 0


# Clocks.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("step", [-3_600_000, -1, 1, 3_600_000])
def test_a_wall_clock_that_steps_all_the_time_makes_no_round_trip_absurd(scheme: str, step: int) -> None:
    reads = iter(range(1_000_000))
    began = time.monotonic_ns()

    def clock() -> Instant:
        return Instant(time.monotonic_ns(), time.time_ns() + next(reads) * step * MS)

    with serving(f"{scheme}://127.0.0.1:0", timestamps=True) as server:
        bench = Bench(course(0, server.address), count=20, clock=clock).run()
    passed = time.monotonic_ns() - began
    (target,) = bench.targets
    assert bench.outcomes() == {"reply": 20}
    assert target.round_trip
    assert 0 <= target.round_trip.min_ns <= target.round_trip.max_ns <= passed
    assert target.timestamps
    assert (target.timestamps.forward, target.timestamps.reverse) == (None, None)


@pytest.mark.parametrize("step", [999_983, 1_000_000, 2_000_003, 7_000_000])
@pytest.mark.parametrize("reconnect", [False, True])
def test_each_probe_is_given_up_before_the_next_leaves_and_no_burst_follows(step: int, reconnect: bool) -> None:
    sent: list[tuple[int | None, int]] = []
    with silent() as port:
        one = course(0, f"127.0.0.1:{port}", wait=BRIEF, reconnect=reconnect)
        bench = Bench(one, count=20, clock=Ticking(step))
        bench.hear = lambda event: sent.append((event.number, one.tracker.tally.sent))
        bench.run()
    assert sent == [(each, each + 1) for each in range(20)]


@pytest.mark.parametrize(
    "address", [lambda: f"127.0.0.1:{unused_port()}", lambda: f"udp://127.0.0.1:{unused_datagram_port()}"]
)
@pytest.mark.parametrize("reconnect", [False, True])
def test_where_nobody_is_the_next_try_is_not_at_once(address: Callable[[], str], reconnect: bool) -> None:
    where = address()
    one = course(0, where, wait=1, reconnect=reconnect and not where.startswith("udp"))
    bench = Bench(one, count=None, deadline=1000 * MS, clock=Ticking(MS)).run()
    (target,) = bench.targets
    assert 2 <= target.sent <= 1000 * MS // AFTER_ERROR + 1
    assert target.received == 0
    assert set(target.errors) == {"Refused"}


def test_connecting_where_nobody_is_does_not_spin_either() -> None:
    one = course(0, f"127.0.0.1:{unused_port()}", connect=True)
    (target,) = Bench(one, count=None, deadline=1000 * MS, clock=Ticking(MS)).run().targets
    assert 2 <= target.sent <= 1000 * MS // AFTER_ERROR + 1


# The plan.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_plan_that_nobody_could_keep_leaves_time_to_read(scheme: str) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server:
        bench = Bench(course(0, server.address), count=None, interval=1)

        def hear(event: ProbeEvent) -> None:
            bench.events.append(event)
            bench.wish.stop = True

        bench.hear = hear
        bench.run()
    assert bench.events[0].outcome == "reply"


def test_targets_take_turns() -> None:
    with serving("127.0.0.1:0") as one, serving("udp://127.0.0.1:0") as other:
        bench = Bench(course(0, one.address), course(1, other.address), count=3).run()
    assert [(event.target, event.number) for event in bench.events] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]


def test_a_slow_target_beside_a_quick_one_is_given_its_time() -> None:
    def slowly(datagram: bytes) -> list[bytes]:
        threading.Event().wait(0.15)
        return [datagram]

    with serving("udp://127.0.0.1:0") as quick, correspondent(slowly) as port:
        courses = course(0, quick.address), course(1, f"udp://127.0.0.1:{port}")
        bench = Bench(*courses, count=1, interval=MS).run()
    assert [target.received for target in bench.targets] == [1, 1]


def test_stragglers_are_waited_for_as_the_slowest_answer_so_far_took() -> None:
    answered = threading.Event()

    def answers(datagram: bytes) -> list[bytes]:
        if not answered.is_set():
            answered.set()
            return [datagram]
        return []

    with correspondent(answers) as port:
        bench = Bench(course(0, f"udp://127.0.0.1:{port}"), count=2, interval=MS)
        began = time.monotonic()
        bench.run()
    assert bench.outcomes() == {"reply": 1, "lost": 1}
    assert time.monotonic() - began < WAIT


def test_a_deadline_ends_what_would_go_on_for_ever() -> None:
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address), count=None, interval=MS, deadline=100 * MS).run()
    (target,) = bench.targets
    assert 1 <= target.received <= target.sent <= 101


def test_what_left_just_before_the_deadline_is_not_lost_for_that() -> None:
    def slowly(datagram: bytes) -> list[bytes]:
        threading.Event().wait(0.05)
        return [datagram]

    with correspondent(slowly) as port:
        bench = Bench(course(0, f"udp://127.0.0.1:{port}"), count=None, interval=80 * MS, deadline=90 * MS).run()
    (target,) = bench.targets
    assert target.sent == target.received >= 1


def test_a_deadline_in_a_clocks_own_time_is_kept_to_the_tick() -> None:
    with silent() as port:
        clock = Ticking(MS)
        Bench(course(0, f"127.0.0.1:{port}"), count=None, interval=100 * MS, deadline=500 * MS, clock=clock).run()
    assert 500 * MS <= clock.now - 1000 * MS <= 520 * MS + SHORTEST


def test_what_had_come_when_this_side_was_busy_is_not_lost() -> None:
    with stamping_kernel(), serving("127.0.0.1:0") as server:
        one = course(0, server.address, wait=1)
        stopped = 0

        def clock() -> Instant:
            nonlocal stopped
            if one.tracker.tally.awaited and not stopped and one.connection.connection:
                assert until_readable([one.connection.connection.socket], WAIT)
                stopped = 5000 * MS  # as if the whole process had been
            return Instant(time.monotonic_ns() + stopped, time.time_ns() + stopped)

        bench = Bench(one, count=1, clock=clock).run()
    assert bench.outcomes() == {"reply": 1}


def test_the_end_of_the_time_sends_nothing_more() -> None:
    def slowly(connection: socket.socket) -> None:
        while data := connection.recv(1000):
            threading.Event().wait(0.2)
            connection.sendall(data)

    with peer(slowly) as port:
        bench = Bench(course(0, f"127.0.0.1:{port}"), count=None, deadline=300 * MS).run()
    (target,) = bench.targets
    assert target.sent == target.received >= 1


# Wishes.


def test_a_wish_to_stop_ends_it_and_what_came_is_told() -> None:
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address), count=None)

        def hear(event: ProbeEvent) -> None:
            bench.events.append(event)
            if len(bench.events) == 3:
                bench.wish.note(signal.SIGINT)

        bench.hear = hear
        bench.run()
    assert bench.outcomes() == {"reply": 4}  # with the one that was under way already


def test_what_is_under_way_when_it_ends_is_awaited_for_a_moment() -> None:
    with serving("127.0.0.1:0") as server:
        one = course(0, server.address)
        bench = Bench(one, count=None, interval=MS)

        def stopping(event: ProbeEvent) -> None:
            bench.events.append(event)
            if event.number == 5:
                bench.wish.stop = True

        bench.hear = stopping
        bench.run()
    assert one.tracker.tally.awaited == 0
    assert bench.outcomes() == {"reply": len(bench.events)}


def test_a_wish_to_look_is_granted_once() -> None:
    looks: list[int] = []
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address), count=5)

        def hear(event: ProbeEvent) -> None:
            if event.number == 2:
                bench.wish.look = True

        bench.hear = hear
        bench.run(lambda: looks.append(bench.targets[0].received))
    assert looks == [3]


def test_a_wish_that_came_before_connecting_connects_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bench = Bench(course(0, listener.getsockname()))
        bench.wish.note(signal.SIGTERM)
        bench.run()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (bench.events, bench.targets[0].sent) == ([], 0)


class Interrupting(SocketOptions):
    """Has a signal come in the midst of connecting."""

    __slots__ = ()

    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_signal_breaks_into_connecting_and_leaves_nothing_open(scheme: str) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server:
        bench = Bench(course(0, server.address, marking=Interrupting()), course(1, server.address))
        with bench.wish.of_signals():
            bench.run()
    assert (bench.wish.stop, bench.events) == (True, [])
    assert [each.connection.connection for each in bench.courses] == [None, None]


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_a_signal_breaks_into_connecting_again_and_what_came_before_is_kept() -> None:
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address, reconnect=True), count=None)

        def hear(event: ProbeEvent) -> None:
            bench.events.append(event)
            if event.number == 2:
                lane = bench.courses[0].connection
                lane.dial = replace(lane.dial, marking=Interrupting())

        bench.hear = hear
        with bench.wish.of_signals():
            bench.run()
    assert bench.outcomes() == {"reply": 3}
    assert bench.targets[0].sent == 3


# Connections.


linux = pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")


@linux
def test_nobody_waits_for_somebody_elses_connection() -> None:
    meanwhile: list[bool] = []
    with serving("127.0.0.1:0") as server, full(room=True) as place:
        # The first connection fills the queue; the second is made for WAIT seconds, in vain.
        dead = course(1, place, connect=True)
        bench = Bench(course(0, server.address), dead, count=None, interval=5 * MS)

        def hear(event: ProbeEvent) -> None:
            meanwhile.extend([True] if event.target == 0 and dead.connection.opening else [])
            bench.wish.stop = len(meanwhile) == 10

        bench.hear = hear
        bench.run()
    good, held = bench.targets
    assert (good.lost, held.sent, held.received) == (0, 1, 1)
    assert bench.pace.skipped_waiting >= 9
    sent = good.sent + held.sent  # and not the one that waits
    assert bench.pace.planned - bench.pace.late <= sent <= bench.pace.planned


@linux
def test_a_dead_target_takes_no_time_from_a_good_one_and_is_told_of_at_the_end() -> None:
    with serving("127.0.0.1:0") as server, full() as place:
        dead = course(1, place)
        bench = Bench(course(0, server.address), dead, count=None, interval=10 * MS, deadline=300 * MS).run()
    good, held = bench.targets
    assert good.sent == good.received >= 1
    assert (held.sent, dict(held.errors)) == (1, {"TimedOut": 1})
    assert held.failure


@linux
def test_a_probe_whose_connection_is_not_there_at_the_end_is_lost() -> None:
    with full(room=True) as place:  # the first connection fills the queue, and is all there is to the first probe
        one = course(0, place, connect=True)
        bench = Bench(one, count=None, interval=10 * MS, deadline=200 * MS).run()
    (target,) = bench.targets
    assert (target.sent, target.received, target.lost, dict(target.errors)) == (2, 1, 1, {"TimedOut": 1})


@linux
def test_connecting_is_part_of_the_time_that_all_may_take() -> None:
    with full() as place:
        bench = Bench(course(0, place), count=None, interval=MS, deadline=50 * MS)
        began = time.monotonic()
        bench.run()
    (target,) = bench.targets
    assert (target.sent, dict(target.errors)) == (1, {"TimedOut": 1})
    assert time.monotonic() - began < WAIT


def test_what_was_made_for_a_connection_that_has_ended_is_not_sent_on_it() -> None:
    asked, closed = threading.Event(), threading.Event()

    def answer_once(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000))
        assert asked.wait(WAIT)
        connection.close()
        closed.set()

    def slowly(connection: socket.socket) -> None:
        first = connection.recv(1000)
        asked.set()
        assert closed.wait(WAIT)
        connection.sendall(first)
        echoing(connection)

    with peer(answer_once, echoing) as one, peer(slowly) as other:
        bench = Bench(course(0, f"127.0.0.1:{one}"), course(1, f"127.0.0.1:{other}"), count=2).run()
    assert bench.outcomes() == {"reply": 4, "error": 1}
    assert [dict(target.errors) for target in bench.targets] == [{"IncompleteRead": 1}, {}]


@linux
def test_an_answer_counts_though_the_next_probe_finds_the_connection_gone() -> None:
    def answer_and_reset(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with peer(answer_and_reset, echoing) as port:
        one = course(0, f"127.0.0.1:{port}")

        def clock() -> Instant:
            if one.tracker.tally.sent == 1 and one.tracker.tally.awaited and one.connection.connection:
                poller = select.poll()
                poller.register(one.connection.connection.socket, 0)
                assert poller.poll(WAIT * 1000)  # the reset
            return Instant(time.monotonic_ns(), time.time_ns())

        bench = Bench(one, count=3, clock=clock).run()
    assert [(event.outcome, event.number) for event in bench.events] == [("reply", 0), ("error", 1), ("reply", 2)]


@linux
def test_who_answers_for_a_name_is_told_where_the_first_address_has_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with correspondent(once) as port:
        places = ("127.0.0.2", port), ("127.0.0.1", port)
        found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        bench = Bench(course(0, f"udp://name:{port}"), count=1).run()
    assert [(event.outcome, event.peer) for event in bench.events] == [("reply", f"127.0.0.1:{port}")]


def test_reconnecting_has_a_connection_for_each_probe() -> None:
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address, reconnect=True), count=4).run()
        assert server.snapshot().accepted == 4
    (target,) = bench.targets
    assert bench.outcomes() == {"reply": 4}
    assert {name: spread.count for name, spread in target.phases.items()} == {"connect": 4, "first": 4}
    assert target.floor_ns is None or target.floor_ns > 0


def test_a_greeting_on_each_connection_is_no_answer() -> None:
    with serving("127.0.0.1:0", greeting=b"hello there, this is the echo\n") as server:
        bench = Bench(course(0, server.address, reconnect=True), count=3).run()
    assert bench.outcomes()["reply"] == 3
    assert bench.targets[0].corrupt == 0


def test_connecting_alone_sends_nothing_and_asks_for_no_echo() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bench = Bench(course(0, listener.getsockname(), connect=True), count=4).run()
        for _ in range(4):
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == b""
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert bench.outcomes() == {"reply": 4}
    assert bench.targets[0].phases.keys() == {"connect"}


def test_connecting_alone_does_not_mind_who_closes_at_once() -> None:
    with serving("127.0.0.1:0") as other, peer(lambda _: None) as port:
        waiting_its_turn = course(1, f"127.0.0.1:{port}", connect=True)
        bench = Bench(course(0, other.address), waiting_its_turn, count=3, interval=60 * MS).run()
    assert [target.errors for target in bench.targets] == [{}, {}]
    assert bench.outcomes() == {"reply": 6}


def test_a_greeting_before_the_first_probe_takes_no_connection() -> None:
    with serving("127.0.0.1:0") as other, serving("127.0.0.1:0", greeting=b"hello there\n") as server:
        waiting_its_turn = course(1, server.address, reconnect=True)
        bench = Bench(course(0, other.address), waiting_its_turn, count=2, interval=60 * MS).run()
        assert server.snapshot().accepted == 2
    assert bench.outcomes()["reply"] == 4


def test_a_connection_that_ends_costs_what_was_under_way_and_is_made_again() -> None:
    with peer(hanging_up_midway, echoing) as port:
        bench = Bench(course(0, f"127.0.0.1:{port}"), count=6).run()
    (target,) = bench.targets
    assert (target.sent, target.received, sum(target.errors.values())) == (6, 5, 1)
    assert bench.numbers("lost") | bench.numbers("error") == {2}
    assert target.phases["connect"].count == 2


def test_one_end_of_a_connection_is_one_error_for_each_of_its_victims() -> None:
    with peer(closing_at_once) as port:
        one = course(0, f"127.0.0.1:{port}", wait=BRIEF)
        bench = Bench(one, count=1, interval=MS).run()
    (target,) = bench.targets
    assert sum(target.errors.values()) == 1
    assert (target.sent, target.lost) == (1, 1)


def test_a_connection_that_is_found_ended_when_a_probe_leaves_is_one_error_and_made_again() -> None:
    opened = threading.Event()

    def hang_up(connection: socket.socket) -> None:
        opened.wait(WAIT)
        at_once = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    with peer(hang_up) as port:
        one = course(0, f"127.0.0.1:{port}", wait=BRIEF)
        bench = Bench(one, count=2, interval=20 * MS)
        bench.prober.open()
        opened.set()
        assert one.connection.connection
        assert until_readable([one.connection.connection.socket], WAIT)  # the reset
        bench.run()
    (target,) = bench.targets
    assert (target.sent, target.lost, dict(target.errors)) == (2, 2, {"Reset": 1})
    assert target.phases["connect"].count == 2


def test_who_does_not_read_gets_no_more_than_the_stream_holds() -> None:
    with silent() as port:
        one = course(0, f"127.0.0.1:{port}", size=65_507, wait=0.5)
        bench = Bench(one, count=200, interval=MS).run()
    (target,) = bench.targets
    assert set(target.errors) == {"Blocked"}
    assert target.errors["Blocked"] < 200
    assert (target.sent, target.lost) == (200, 200)
    assert target.failure
    assert "takes no more bytes; allow more time between probes with -i" in target.failure


def test_large_probes_are_sent_piece_by_piece() -> None:
    with serving("127.0.0.1:0") as server:
        bench = Bench(course(0, server.address, size=65_507), count=100, interval=MS // 10).run()
    (target,) = bench.targets
    assert (target.received, target.corrupt) == (100 - target.errors.get("Blocked", 0), 0)
    assert target.received >= 50


# What cannot be.


def test_a_name_that_nobody_has_is_told_before_anything_else() -> None:
    for reconnect in (False, True):
        bench = Bench(course(0, "halloo.invalid:9", reconnect=reconnect))
        with pytest.raises(UnknownHost):
            bench.run()


def test_a_wrong_option_is_told_before_anything_else() -> None:
    for connect in (False, True):
        bench = Bench(course(0, "127.0.0.1:9", connect=connect, marking=SocketOptions(bind="192.0.2.1")))
        with pytest.raises(UsageError):
            bench.run()


def test_a_datagram_that_is_too_long_is_an_error_of_its_own() -> None:
    with correspondent(once) as port:
        bench = Bench(course(0, f"udp://127.0.0.1:{port}", size=70_000), count=2).run()
    assert bench.targets[0].errors == {"UsageError": 2}


# Waiting.


def test_an_answer_that_only_our_own_clock_times_is_awaited_awake() -> None:
    one = course(0, "127.0.0.1:1")
    bench = Bench(one, interval=1000 * MS)
    later, now = 10**12, 1000 * MS
    with closing(bench.wish):
        assert bench.prober._awake_from(later, now) == later - AWAKE
        _, probe = one.tracker.send(Instant(now - 70 * MS, now))
        one.tracker.answer(probe, Instant(now - 20 * MS, now), None)
        one.tracker.send(Instant(now, now))
        assert bench.prober._awake_from(later, now) == now + 50 * MS - BEFORE
        assert bench.prober._awake_from(later, now + 51 * MS) == later - AWAKE
