"""Echo loops end, and clients are served: simulated paths and clients, with the time as a number."""

from heapq import heapify, heappop, heappush
from random import Random

import pytest

from halloo._core.probe import Probes
from halloo._server.udp_loops import MAX_SENDERS, SAMPLE_INTERVAL, SILENCE, LoopDetector

SENDER = ("10.0.0.1", 40_000)
MAX_READS = 64  # datagrams in a turn
COST = 20e-6  # seconds that a datagram takes: a slow server, whose queues add to the round trip
CLIENT_TIMEOUT = 1.0  # seconds until a client sends again


class Loop:
    """A path between two echoes, one of which has the detector; `turn` is one turn of that server's event loop."""

    def __init__(
        self, round_trip: float, *, copies: int, distinct: int = 1, loss: float = 0.0, jitter: float = 0.0
    ) -> None:
        """Set the time outside the server in seconds, the loss of a whole round, and the jitter as a share of it."""
        self.detector, self.now, self.next_sample = LoopDetector(), 0.0, 0.0
        self._round_trip, self._survival, self._jitter = round_trip, 1 - loss, jitter
        self._random = Random(1)  # noqa: S311 - repeatable
        spread = round_trip if jitter else 0.0
        self.circulating = [(self._random.uniform(0, spread), number % distinct) for number in range(copies)]
        heapify(self.circulating)

    def turn(self) -> None:
        started = self.now = max(self.now, self.circulating[0][0])
        payloads: list[int] = []
        while self.circulating and self.circulating[0][0] <= started and len(payloads) < MAX_READS:
            payloads.append(heappop(self.circulating)[1])
        self.now += COST * len(payloads)
        if self.detector.is_silent(SENDER, started):
            return
        if started >= self.next_sample:
            self.next_sample = started + SAMPLE_INTERVAL
            self.detector.sample(SENDER, payloads[-1], started)
        for payload in payloads:
            if self._survival == 1 or self._random.random() < self._survival:
                delay = self._round_trip * (1 + self._random.uniform(0, self._jitter))
                heappush(self.circulating, (self.now + delay, payload))

    def end(self, *, at_most: float) -> float:
        """Run until nothing circulates, or until a time; return the time."""
        while self.circulating and self.now < at_most:
            self.turn()
        return self.now


@pytest.mark.parametrize(
    ("round_trip", "copies", "distinct", "jitter"),
    [
        (0.0002, 1, 1, 0.0),
        (0.0002, 31, 31, 0.1),
        (0.04, 1000, 1, 0.0),
        (0.04, 10_000, 10_000, 0.1),
        (1.0, 31, 1, 0.1),
        (1.0, 10_000, 10_000, 0.0),
    ],
)
def test_a_loop_ends_within_15_seconds(round_trip: float, copies: int, distinct: int, jitter: float) -> None:
    assert Loop(round_trip, copies=copies, distinct=distinct, jitter=jitter).end(at_most=15) < 15


@pytest.mark.parametrize(("round_trip", "loss"), [(0.0002, 0.0001), (1.0, 0.0001), (1.0, 0.01), (1.0, 0.1)])
def test_a_loop_with_loss_ends_too(round_trip: float, loss: float) -> None:
    assert Loop(round_trip, copies=10_000, distinct=10_000, loss=loss, jitter=0.1).end(at_most=40) < 40


def test_a_loop_among_other_senders_ends() -> None:
    loop = Loop(0.02, copies=31, distinct=31)
    other = 0
    while loop.circulating and loop.now < 15:
        loop.turn()
        for _ in range(4):  # of five samples
            other += 1
            loop.now += SAMPLE_INTERVAL
            loop.detector.sample((f"host {other % 500}", 1), hash(("fresh", other)), loop.now)
    assert loop.now < 15


def test_more_loops_than_the_table_holds_end_by_turns() -> None:
    detector, loops, now = LoopDetector(), list(range(3 * MAX_SENDERS // 2)), 0.0
    while loops and now < 30:
        for loop in loops.copy():
            now += SAMPLE_INTERVAL
            if detector.sample((str(loop), 1), 0, now):
                loops.remove(loop)
    assert now < 30


def test_a_flood_of_forged_senders_does_not_hide_a_loop() -> None:
    detector, random = LoopDetector(), Random(1)  # noqa: S311 - repeatable
    for number in range(60_000):
        sender = SENDER if random.random() < 1 / 600 else (str(number), 1)
        if detector.sample(sender, hash(sender), number * SAMPLE_INTERVAL):
            break
    assert detector.is_silent(SENDER, number * SAMPLE_INTERVAL)


def test_a_loop_that_ended_can_be_started_again_and_ends_again() -> None:
    loop = Loop(0.02, copies=31)
    loop.end(at_most=15)
    restarted = loop.now + SILENCE
    loop.circulating = [(restarted, 0)]
    assert loop.end(at_most=restarted + 115) < restarted + 115


# Clients.


def unanswered_of_stream(interval: float, seconds: float, distinct: int | None = None) -> list[float]:
    """Send at an interval without waiting, fresh payloads or `distinct` ones in turn; return the times without answer.

    Fresh ones are those of `halloo ping`.
    """
    detector, lost, probes = LoopDetector(), [], Probes(7, 64)
    for number in range(int(seconds / interval)):
        now = number * interval
        if detector.is_silent(SENDER, now):
            lost.append(now)
        else:
            payload = hash(probes.encode(number, int(now * 1e9))) if distinct is None else number % distinct
            detector.sample(SENDER, payload, now)
    return lost


@pytest.mark.parametrize("interval", [SAMPLE_INTERVAL, 0.01, 1.0])
def test_fresh_payloads_are_always_answered(interval: float) -> None:
    assert unanswered_of_stream(interval, 200_000 * interval) == []


@pytest.mark.parametrize("distinct", [1, 30])
def test_a_client_that_repeats_itself_waits_after_10_then_100_then_1000_seconds(distinct: int) -> None:
    lost = unanswered_of_stream(0.02, 3000, distinct)
    pauses = [at for at, before in zip(lost, [-9.0, *lost], strict=False) if at - before > SILENCE]
    assert pauses == pytest.approx([10, 110, 1110, 2110], abs=3)
    assert len(lost) == pytest.approx(4 * SILENCE / 0.02, abs=4)


@pytest.mark.parametrize("interval", [2.0, 60.0])
def test_equal_payloads_at_a_slow_pace_are_always_answered(interval: float) -> None:
    assert unanswered_of_stream(interval, 10_000 * interval, 1) == []


def test_a_client_that_waits_for_each_answer_sends_again_at_most_twice_in_a_pause() -> None:
    detector, now, answered, repeated = LoopDetector(), 0.0, 0, []
    while now < 1000:
        if detector.is_silent(SENDER, now):
            repeated.append(now)
            now += CLIENT_TIMEOUT
            continue
        answered += 1
        detector.sample(SENDER, 0, now)
        now += 0.01
    assert len(repeated) == 4
    assert answered > 99_000


def test_a_retransmission_now_and_then_is_no_repetition() -> None:
    detector = LoopDetector()
    for number in range(100_000):
        detector.sample(SENDER, number - (number % 1000 == 0), number / 100)  # one in ten seconds
    assert detector.silent_until == {}


# Bounds.


def test_forged_senders_do_not_grow_the_tables() -> None:
    detector = LoopDetector()
    for number in range(3 * MAX_SENDERS):
        for payload in range(100):
            detector.sample((str(number), 1), payload, number / 1e3)
    assert len(detector._senders) == MAX_SENDERS
    assert max(len(one._payloads) for one in detector._senders.values()) <= 64


def test_a_silence_is_forgotten_when_it_is_over() -> None:
    loop = Loop(0.02, copies=1)
    loop.end(at_most=15)
    assert loop.detector.is_silent(SENDER, loop.now)
    assert not loop.detector.is_silent(SENDER, loop.now + SILENCE)
    assert loop.detector.silent_until == {}
