"""Which datagrams are answered, and how many: each rule, simulated paths and clients, with the time as a number."""

import sys
from heapq import heapify, heappop, heappush
from random import Random

import pytest

from halloo._core.limits import BURST, Limits
from halloo._core.probe import Probes
from halloo._server.udp_policy import (
    FORGOTTEN_AFTER,
    KNOWN_AFTER,
    MAX_CLASSES,
    MAX_KNOWN_HOSTS,
    MAX_NEW,
    MAX_PAYLOADS,
    MAX_PER_WINDOW,
    MAX_PORTS,
    MAX_REPEATING,
    NEW_PER_WINDOW,
    SAMPLE_INTERVAL,
    SERVICE_PORTS,
    SILENCE,
    TEST_INTERVAL,
    WINDOW,
    KnownSenders,
    LoopDetector,
    UdpPolicy,
)

OWN_PORT = 8888
PORT = 40_000
TRUSTED, UNTRUSTED, OTHER = "127.0.0.1", "8.8.8.8", "9.9.9.9"
TRUSTED_HOSTS = [
    *("127.0.0.1", "127.3.2.1", "::1"),  # loopback
    *("169.254.7.7", "fe80::1%eth0"),  # of one link
    *("10.1.2.3", "172.16.0.1", "192.168.178.20", "fd12:3456::1"),  # private
    *("::ffff:127.0.0.1", "::ffff:10.1.2.3"),  # IPv4 at a socket for both
]
UNTRUSTED_HOSTS = ["8.8.8.8", "100.64.0.1", "2a00:1450::1", "2002:808:808::1", "::ffff:8.8.8.8"]


def make_policy(**limits: object) -> UdpPolicy:
    return UdpPolicy(Limits(**limits), {OWN_PORT})  # type: ignore[arg-type] # each test gives what Limits has


def refusal(policy: UdpPolicy, host: str = TRUSTED, port: int = PORT, *, now: float = 0.0, size: int = 5) -> str | None:
    """Return why one datagram is refused, or None."""
    return policy.refusal_reason(host, port, 1, size, now)


def count_answered(policy: UdpPolicy, host: str, count: int, *, now: float = 0.0, size: int = 5) -> int:
    """Send datagrams at one time; return how many are answered."""
    return sum(refusal(policy, host, now=now, size=size) is None for _ in range(count))


def spoofed(number: int) -> str:
    """Make the address of an untrusted sender, another one for each number."""
    return f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1"


# Ports and senders.


def test_service_ports_and_own_ports_are_not_answered() -> None:
    policy = make_policy()
    refused = {port: reason for port in range(65536) if (reason := refusal(policy, port=port))}
    assert refused == dict.fromkeys(SERVICE_PORTS, "service_port") | {OWN_PORT: "own_port"}
    assert refusal(policy, UNTRUSTED, OWN_PORT) == "own_port"
    policy = UdpPolicy(Limits(), {7, 9999})
    assert [refusal(policy, port=port) for port in (7, 9999, PORT)] == ["own_port", "own_port", None]


def test_any_port_allows_service_ports_but_not_the_own_port() -> None:
    policy = make_policy(any_port=True)
    assert {port for port in range(65536) if refusal(policy, port=port)} == {OWN_PORT}


def test_a_sender_that_cannot_be_one_host_is_refused_even_if_allowed() -> None:
    multicast = ("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::101", "::ffff:224.0.0.1")
    unspecified, broadcast = ("0.0.0.0", "::", "::ffff:0.0.0.0"), ("255.255.255.255", "::ffff:255.255.255.255")
    for host in (*multicast, *unspecified, *broadcast):
        assert refusal(make_policy(), host) == "sender", host
    assert refusal(make_policy(allow=("0.0.0.0/0",)), "255.255.255.255") == "sender"


def test_access_lists_apply_to_senders() -> None:
    policy = make_policy(deny=("127.0.0.2", "10.0.0.0/8"))
    hosts = ("127.0.0.2", "10.1.2.3", "::ffff:10.1.2.3", TRUSTED)
    assert [refusal(policy, host) for host in hosts] == ["denied", "denied", "denied", None]
    assert policy.trusted_hosts == {TRUSTED}
    policy = make_policy(allow=("127.0.0.0/8",))
    assert [refusal(policy, host) for host in (TRUSTED, "10.1.2.3", UNTRUSTED)] == [None, "denied", "denied"]


# Trusted and untrusted senders.


def test_trusted_senders_are_always_answered_and_recorded_at_the_first_datagram() -> None:
    for host in TRUSTED_HOSTS:
        policy = make_policy()
        assert refusal(policy, host) is None
        assert policy.trusted_hosts == {host}
        assert count_answered(policy, host, 10 * MAX_PER_WINDOW) == 10 * MAX_PER_WINDOW
    assert count_answered(policy, UNTRUSTED, MAX_PER_WINDOW) == MAX_PER_WINDOW  # counted apart


def test_an_untrusted_sender_is_answered_up_to_the_maximum_per_window() -> None:
    for host in UNTRUSTED_HOSTS:
        policy = make_policy()
        assert count_answered(policy, host, 2 * MAX_PER_WINDOW) == MAX_PER_WINDOW
        assert refusal(policy, host) == "rate_limit"
        assert count_answered(policy, OTHER, MAX_PER_WINDOW) == MAX_PER_WINDOW  # counted apart
        assert policy.trusted_hosts == set()


def test_in_the_next_window_each_untrusted_sender_is_answered_as_often_again() -> None:
    policy = make_policy()
    for eighth in range(50):
        for host in (*UNTRUSTED_HOSTS[:3], OTHER):
            assert count_answered(policy, host, 2 * MAX_PER_WINDOW, now=eighth / 8) == MAX_PER_WINDOW


def test_a_window_lasts_a_tenth_of_a_second() -> None:
    policy = make_policy()
    count_answered(policy, UNTRUSTED, MAX_PER_WINDOW, now=100.0)
    assert refusal(policy, UNTRUSTED, now=100.0 + 0.99 * WINDOW) == "rate_limit"
    assert refusal(policy, UNTRUSTED, now=100.0 + 1.01 * WINDOW) is None


def test_an_untrusted_sender_of_one_datagram_a_millisecond_is_always_answered() -> None:
    policy = make_policy()
    assert {refusal(policy, UNTRUSTED, now=number / 1000) for number in range(10_000)} == {None}


def test_each_datagram_of_a_batch_counts() -> None:
    policy = make_policy()
    assert policy.refusal_reason(UNTRUSTED, PORT, MAX_PER_WINDOW, 5 * MAX_PER_WINDOW, 0.0) is None
    assert refusal(policy, UNTRUSTED) == "rate_limit"


def test_the_ports_of_an_untrusted_sender_are_counted_together_as_is_its_mapped_ipv6() -> None:
    policy = make_policy()
    verdicts = [refusal(policy, UNTRUSTED, PORT + number) for number in range(2 * MAX_PER_WINDOW)]
    assert verdicts.count(None) == MAX_PER_WINDOW
    assert refusal(policy, f"::ffff:{UNTRUSTED}") == "rate_limit"


def test_the_addresses_of_one_ipv6_prefix_are_counted_together() -> None:
    policy = make_policy()
    hosts = [f"2a00:1450:1:1:{part:x}::{number:x}" for part in range(256) for number in range(4)]  # one 64-bit prefix
    assert sum(refusal(policy, host) is None for host in hosts) == MAX_PER_WINDOW
    assert count_answered(policy, "2a00:1450:1:2::1", MAX_PER_WINDOW) == MAX_PER_WINDOW


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1000}])
def test_the_length_of_the_prefix_can_be_chosen(limits: dict[str, object]) -> None:
    policy, alone = make_policy(host_prefix=56, **limits), make_policy(**limits)
    hosts = [f"2a00:1450:1:{number:x}::1" for number in range(256) for _ in range(4)]  # one 56-bit prefix
    answered = count_answered(alone, hosts[0], 1024)
    assert sum(refusal(policy, host) is None for host in hosts) == answered < 1024
    assert sum(refusal(policy, host) is None for host in ["2a00:1450:1:100::1"] * 1024) == answered


# Rate limit.


def test_the_rate_limit_applies_to_every_sender() -> None:
    for host in (TRUSTED, "10.1.2.3", UNTRUSTED, "2a00:1450::1"):
        policy = make_policy(rate_limit=1000)
        assert count_answered(policy, host, 1000, size=10) < 50
        assert refusal(policy, host, size=10) == "rate_limit"
        assert refusal(policy, "127.0.0.2") is None  # counted apart
        assert policy.trusted_hosts == set()


def test_over_time_the_rate_limit_is_kept() -> None:
    policy = make_policy(rate_limit=1000)
    taken = sum(10 * count_answered(policy, TRUSTED, 5, now=tenth / 10, size=10) for tenth in range(100))
    assert taken == 5000  # half the rate: everything is answered
    policy = make_policy(rate_limit=1000)
    taken = sum(10 * count_answered(policy, TRUSTED, 50, now=tenth / 10, size=10) for tenth in range(100))
    assert 10_000 <= taken <= 10_000 + 1000 * BURST + 10


def test_a_datagram_larger_than_the_rate_goes_through_now_and_then() -> None:
    policy = make_policy(rate_limit=1000)
    assert refusal(policy, size=5000) is None
    for eighth in range(1, 38):
        assert refusal(policy, now=eighth / 8) == "rate_limit"  # longer than a window
    assert refusal(policy, now=5 - BURST - 0.01) == "rate_limit"
    assert refusal(policy, now=5 - BURST + 0.01) is None


@pytest.mark.parametrize("rate", [1000, 1 << 40])
@pytest.mark.parametrize("size", [0, 1000])
def test_a_rate_limit_adds_to_the_maximum_per_window(rate: int, size: int) -> None:
    without, limited = make_policy(), make_policy(rate_limit=rate)
    for tenth in range(1, 20):
        answered = count_answered(limited, UNTRUSTED, 10 * MAX_PER_WINDOW, now=tenth / 8, size=size)
        assert answered <= count_answered(without, UNTRUSTED, 10 * MAX_PER_WINDOW, now=tenth / 8, size=size)
    assert answered == (MAX_PER_WINDOW if rate > 1000 else pytest.approx(1000 / 8 / max(size, 1), abs=1))


def test_with_a_high_rate_limit_trusted_senders_are_not_limited_in_number() -> None:
    assert count_answered(make_policy(rate_limit=1 << 40), TRUSTED, 10 * MAX_PER_WINDOW) == 10 * MAX_PER_WINDOW


def test_an_empty_datagram_costs_a_token() -> None:
    assert count_answered(make_policy(rate_limit=1000), UNTRUSTED, 1000, size=0) < 300


# Cost.


def calls_of(policy: UdpPolicy, hosts: list[str]) -> list[str]:
    """Name the functions that run while one datagram of each host is decided on."""
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    for host in hosts:
        policy.refusal_reason(host, PORT, 1, 5, WINDOW / 2)
    sys.setprofile(None)
    return calls


def test_a_datagram_of_a_host_seen_before_costs_one_call() -> None:
    for limits in ({}, {"rate_limit": 1 << 40, "allow": ("0.0.0.0/0",), "deny": ("10.0.0.0/8",)}):
        for host in (TRUSTED, UNTRUSTED):
            policy = make_policy(**limits)
            refusal(policy, host)
            assert calls_of(policy, [host] * 10) == ["refusal_reason"] * 10


def test_a_datagram_of_a_new_host_costs_two_calls() -> None:
    for limits in ({}, {"rate_limit": 1 << 40}):
        policy = make_policy(**limits)
        refusal(policy, UNTRUSTED)
        calls = calls_of(policy, [spoofed(number) for number in range(10)])
        assert calls == ["refusal_reason", "_classify"] * 10


# Known senders.

HOST = 1  # whatever names one


def make_known(*ports: int, senders: KnownSenders | None = None, host: int = HOST, last: float = 10.0) -> KnownSenders:
    """Have ports of a host come back."""
    senders = senders or KnownSenders()
    for now in (last - KNOWN_AFTER, last):
        for port in ports:
            senders.seen(host, port, now)
    return senders


def test_a_new_sender_yields_to_a_known_one_of_its_host_only() -> None:
    senders = make_known(1)
    assert [senders.yields(HOST, port, 10.0) for port in (1, 2, 3)] == [False, True, True]
    assert not senders.yields(2, 2, 10.0)


def test_senders_that_do_not_come_back_are_not_known() -> None:
    senders = KnownSenders()
    for port in range(900):
        senders.seen(HOST, port, port / 100)
    assert not senders.yields(HOST, 1000, 9.0)


def test_a_sender_is_forgotten_when_it_stays_away() -> None:
    senders = make_known(1)
    assert senders.yields(HOST, 2, 10.0 + FORGOTTEN_AFTER)
    assert not senders.yields(HOST, 2, 10.1 + FORGOTTEN_AFTER)
    senders.seen(HOST, 1, 20.0)
    assert senders.yields(HOST, 2, 20.0 + FORGOTTEN_AFTER)
    senders.yields(HOST, 1, 30.0)
    assert senders.yields(HOST, 2, 30.0 + FORGOTTEN_AFTER)


def test_later_ports_of_a_host_do_not_replace_the_first_ones_while_those_are_active() -> None:
    senders = make_known(*range(3 * MAX_PORTS))
    known = [not senders.yields(HOST, port, 11.0) for port in range(3 * MAX_PORTS)]
    assert known == [True] * MAX_PORTS + [False] * 2 * MAX_PORTS
    make_known(99, senders=senders, last=12.0 + FORGOTTEN_AFTER)
    assert not senders.yields(HOST, 99, 12.0 + FORGOTTEN_AFTER)


def test_in_a_full_table_those_that_stay_away_make_room() -> None:
    senders = KnownSenders()
    for host in range(MAX_KNOWN_HOSTS):
        make_known(1, senders=senders, host=-host)
    make_known(1, senders=senders, last=12.0)
    assert not senders.yields(HOST, 2, 12.0)  # the table is full
    make_known(1, senders=senders, last=12.0 + FORGOTTEN_AFTER)
    assert senders.yields(HOST, 2, 12.0 + FORGOTTEN_AFTER)
    assert len(senders._known) == 1


# A flood of spoofed senders.


def table_sizes(policy: UdpPolicy) -> int:
    tables = (policy.trusted_hosts, policy._classes, policy._known._known, policy._known._new, policy._loops._senders)
    return max(map(len, tables))


def test_a_hundred_thousand_spoofed_senders_do_not_grow_the_tables() -> None:
    policy = make_policy(rate_limit=1000, deny=("20.0.0.0/8",))  # the first 65 536
    for number in range(100_000):
        refusal(policy, spoofed(number), now=number / 1e4)
    assert table_sizes(policy) <= MAX_CLASSES


def test_spoofed_trusted_senders_do_not_grow_the_tables_and_are_all_answered() -> None:
    policy = make_policy()
    assert {refusal(policy, f"10.0.{n >> 8}.{n & 255}") for n in range(4 * MAX_CLASSES)} == {None}
    assert table_sizes(policy) <= MAX_CLASSES


def test_forged_senders_do_not_grow_the_tables_and_known_ones_stay() -> None:
    senders = make_known(1)
    for host in range(3, 3 + 3 * MAX_KNOWN_HOSTS):
        make_known(1, senders=senders, host=host, last=12.0)
    assert len(senders._known) == MAX_KNOWN_HOSTS
    for port in range(2 * MAX_NEW):
        senders.seen(2, port, 12.0)
    assert len(senders._new) <= MAX_NEW
    assert [senders.yields(HOST, port, 12.0) for port in (1, 2)] == [False, True]


def test_forged_senders_do_not_grow_the_tables() -> None:
    detector = LoopDetector()
    for number in range(2 * MAX_REPEATING):
        for payload in range(MAX_PAYLOADS + 10):
            detector.sample((str(number), 1), payload, number / 1e3)
    assert len(detector._senders) == MAX_REPEATING
    assert max(len(one._payloads) for one in detector._senders.values()) <= MAX_PAYLOADS


@pytest.mark.parametrize(("limits", "known"), [({}, False), ({"rate_limit": 1 << 20}, True)])
def test_a_flood_of_new_senders_takes_no_answer_from_another_sender(limits: dict[str, object], known: bool) -> None:
    policy = make_policy(**limits)
    if known:
        refusal(policy, UNTRUSTED, now=-5.0)
    for number in range(60_000):
        now = number / 60_000
        assert refusal(policy, spoofed(number), now=now) is None
        if number % 600 == 0:
            assert refusal(policy, UNTRUSTED, now=now) is None
            assert refusal(policy, TRUSTED, now=now) is None


def make_flooded(**limits: object) -> UdpPolicy:
    """Have a client become known; then flood in its name, from ever other ports."""
    policy = make_policy(**limits)
    for now in (0.0, KNOWN_AFTER):
        assert refusal(policy, UNTRUSTED, now=now) is None
        sample(policy, b"hello", now, host=UNTRUSTED)
    for port in range(20_000, 30_000):
        refusal(policy, UNTRUSTED, port, now=5.0)
    return policy


def test_a_flood_in_the_name_of_a_host_leaves_its_known_sender_a_share() -> None:
    policy = make_flooded()
    assert refusal(policy, UNTRUSTED, PORT + 1, now=5.0) == "rate_limit"
    assert count_answered(policy, UNTRUSTED, MAX_PER_WINDOW, now=5.0) == MAX_PER_WINDOW - NEW_PER_WINDOW


def test_such_a_flood_leaves_a_share_of_the_rate_limit_too() -> None:
    policy = make_flooded(rate_limit=1000)
    assert refusal(policy, UNTRUSTED, PORT + 1, now=5.0) == "rate_limit"
    assert count_answered(policy, UNTRUSTED, 100, now=5.0) * 5 >= 1000 * BURST / 2


def test_a_flood_in_the_name_of_a_host_gets_no_more_answers_than_any() -> None:
    policy = make_flooded()
    answered = sum(refusal(policy, UNTRUSTED, port, now=7.0) is None for port in range(12_000, 30_000))
    assert answered + count_answered(policy, UNTRUSTED, 1000, now=7.0) == MAX_PER_WINDOW


# Samples.


def sample(policy: UdpPolicy, payload: bytes, now: float, *, host: str = TRUSTED, port: int = PORT) -> None:
    policy.sample(host, port, memoryview(payload), now)


@pytest.mark.parametrize(("host", "limits"), [(TRUSTED, {}), (TRUSTED, {"rate_limit": 1 << 30}), (UNTRUSTED, {})])
def test_a_sender_whose_payloads_keep_coming_back_gets_no_answer_for_a_moment(
    host: str, limits: dict[str, object]
) -> None:
    policy = make_policy(**limits)
    for number in range(1101):
        assert refusal(policy, host, now=number / 100) is None
        sample(policy, b"round and round", number / 100, host=host)
        if policy._loops.silent_until:
            break
    now = number / 100
    assert TEST_INTERVAL <= now < TEST_INTERVAL + 1
    assert host not in policy.trusted_hosts
    assert refusal(policy, host, now=now) == "loop"
    assert refusal(policy, host, PORT + 1, now=now) is None
    assert refusal(policy, host, now=now + SILENCE) is None
    assert (host in policy.trusted_hosts) == (host == TRUSTED and not limits)


def test_a_number_at_either_end_of_a_payload_makes_it_a_fresh_one() -> None:
    for size in (8, 1200, 65_507):
        for at_end in (False, True):
            policy = make_policy()
            for number in range(1200):
                counter, rest = number.to_bytes(8, "big"), bytes(size - 8)
                sample(policy, rest + counter if at_end else counter + rest, number / 100)
            assert policy._loops.silent_until == {}


def test_refused_senders_are_not_examined() -> None:
    policy = make_policy(deny=("10.0.0.0/8",))
    sample(policy, b"hello", 0.0, port=7)
    sample(policy, b"hello", 0.0, host="10.0.0.1")
    assert policy._loops._senders == {}


# Echo loops.

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
        (0.04, 1000, 1000, 0.1),
        (1.0, 31, 1, 0.1),
        (1.0, 10_000, 10_000, 0.0),
    ],
)
def test_a_loop_ends_within_15_seconds(round_trip: float, copies: int, distinct: int, jitter: float) -> None:
    assert Loop(round_trip, copies=copies, distinct=distinct, jitter=jitter).end(at_most=15) < 15


@pytest.mark.parametrize(("round_trip", "copies", "loss"), [(0.0002, 1000, 0.0001), (1.0, 10_000, 0.1)])
def test_a_loop_with_loss_ends_too(round_trip: float, copies: int, loss: float) -> None:
    assert Loop(round_trip, copies=copies, distinct=copies, loss=loss, jitter=0.1).end(at_most=40) < 40


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
    detector, loops, now = LoopDetector(), list(range(3 * MAX_REPEATING // 2)), 0.0
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


# Clients that repeat themselves.


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


def test_fresh_payloads_are_always_answered() -> None:
    for interval in (SAMPLE_INTERVAL, 0.01, 1.0):
        assert unanswered_of_stream(interval, 40_000 * interval) == []


@pytest.mark.parametrize("distinct", [1, 30])
def test_a_client_that_repeats_itself_waits_after_10_then_100_then_1000_seconds(distinct: int) -> None:
    lost = unanswered_of_stream(0.02, 3000, distinct)
    pauses = [at for at, before in zip(lost, [-9.0, *lost], strict=False) if at - before > SILENCE]
    assert pauses == pytest.approx([10, 110, 1110, 2110], abs=3)
    assert len(lost) == pytest.approx(4 * SILENCE / 0.02, abs=4)


def test_equal_payloads_at_a_slow_pace_are_always_answered() -> None:
    for interval in (2.0, 60.0):
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


def test_a_silence_is_forgotten_when_it_is_over() -> None:
    loop = Loop(0.02, copies=1)
    loop.end(at_most=15)
    assert loop.detector.is_silent(SENDER, loop.now)
    assert not loop.detector.is_silent(SENDER, loop.now + SILENCE)
    assert loop.detector.silent_until == {}
