"""Which datagrams are answered, and how many: each rule with the time as a number."""

import sys

import pytest

from halloo._core.limits import BURST, Limits
from halloo._server.known_senders import KNOWN_AFTER
from halloo._server.udp_loops import SILENCE, TEST_INTERVAL
from halloo._server.udp_policy import MAX_HOSTS, MAX_PER_WINDOW, NEW_PER_WINDOW, SERVICE_PORTS, WINDOW, UdpPolicy

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


# Ports.


@pytest.mark.parametrize("port", [0, 7, 9, 11, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 500, 520, 1434, 1900])
def test_low_service_ports_are_not_answered(port: int) -> None:
    assert refusal(make_policy(), port=port) == "service_port"
    assert port in SERVICE_PORTS


@pytest.mark.parametrize("port", [3702, 5060, 5353, 5683, 11211])
def test_service_ports_are_not_answered(port: int) -> None:
    assert refusal(make_policy(), port=port) == "service_port"
    assert port in SERVICE_PORTS


def test_any_other_port_is_answered() -> None:
    watching = make_policy()
    refused = {port for port in range(65536) if refusal(watching, port=port)}
    assert refused == SERVICE_PORTS | {OWN_PORT}


@pytest.mark.parametrize("host", [TRUSTED, UNTRUSTED])
def test_the_server_s_own_port_is_not_answered_at_any_address(host: str) -> None:
    assert refusal(make_policy(), host, OWN_PORT) == "own_port"


def test_each_of_several_own_ports_is_refused() -> None:
    watching = UdpPolicy(Limits(), {OWN_PORT, 9999})
    assert [refusal(watching, port=port) for port in (OWN_PORT, 9999, PORT)] == ["own_port", "own_port", None]


def test_a_service_port_that_is_the_server_s_own_is_refused_as_own() -> None:
    assert refusal(UdpPolicy(Limits(), {7}), port=7) == "own_port"


def test_any_port_allows_service_ports_but_not_the_own_port() -> None:
    watching = make_policy(any_port=True)
    assert {port for port in range(65536) if refusal(watching, port=port)} == {OWN_PORT}


# Invalid senders.


@pytest.mark.parametrize("host", ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::101", "::ffff:224.0.0.1"])
def test_a_multicast_sender_is_refused(host: str) -> None:
    assert refusal(make_policy(), host) == "sender"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_an_unspecified_sender_is_refused(host: str) -> None:
    assert refusal(make_policy(), host) == "sender"


@pytest.mark.parametrize("host", ["255.255.255.255", "::ffff:255.255.255.255"])
def test_a_broadcast_sender_is_refused(host: str) -> None:
    assert refusal(make_policy(), host) == "sender"


def test_an_invalid_sender_is_refused_even_if_allowed() -> None:
    assert refusal(make_policy(allow=("0.0.0.0/0",)), "255.255.255.255") == "sender"


# Access lists.


def test_a_denied_sender_is_not_answered_and_others_are() -> None:
    watching = make_policy(deny=("127.0.0.2", "10.0.0.0/8"))
    assert [refusal(watching, host) for host in ("127.0.0.2", "10.1.2.3", TRUSTED)] == ["denied", "denied", None]


def test_a_sender_that_is_not_allowed_is_not_answered() -> None:
    watching = make_policy(allow=("127.0.0.0/8",))
    assert [refusal(watching, host) for host in (TRUSTED, "10.1.2.3", UNTRUSTED)] == [None, "denied", "denied"]


def test_a_denied_sender_is_denied_as_mapped_ipv6_too() -> None:
    assert refusal(make_policy(deny=("10.0.0.0/8",)), "::ffff:10.1.2.3") == "denied"


def test_a_denied_sender_is_not_trusted() -> None:
    watching = make_policy(deny=("10.0.0.0/8",))
    refusal(watching, "10.1.2.3")
    assert watching.trusted_hosts == set()


# Trusted senders.


@pytest.mark.parametrize("host", TRUSTED_HOSTS)
def test_trusted_senders_are_always_answered(host: str) -> None:
    assert count_answered(make_policy(), host, 10 * MAX_PER_WINDOW) == 10 * MAX_PER_WINDOW


@pytest.mark.parametrize("host", TRUSTED_HOSTS)
def test_a_trusted_sender_is_recorded_at_its_first_datagram(host: str) -> None:
    watching = make_policy()
    refusal(watching, host)
    assert watching.trusted_hosts == {host}


def test_datagrams_of_trusted_senders_do_not_count_for_untrusted_ones() -> None:
    watching = make_policy()
    count_answered(watching, TRUSTED, 10 * MAX_PER_WINDOW)
    assert count_answered(watching, UNTRUSTED, MAX_PER_WINDOW) == MAX_PER_WINDOW


def test_with_a_rate_limit_no_sender_is_trusted() -> None:
    watching = make_policy(rate_limit=1000)
    refusal(watching, TRUSTED)
    assert watching.trusted_hosts == set()


# Untrusted senders.


@pytest.mark.parametrize("host", UNTRUSTED_HOSTS)
def test_an_untrusted_sender_is_answered_up_to_the_maximum_per_window(host: str) -> None:
    watching = make_policy()
    assert count_answered(watching, host, 2 * MAX_PER_WINDOW) == MAX_PER_WINDOW
    assert refusal(watching, host) == "rate_limit"
    assert watching.trusted_hosts == set()


def test_in_the_next_window_an_untrusted_sender_is_answered_as_often_again() -> None:
    watching = make_policy()
    for eighth in range(50):
        assert count_answered(watching, UNTRUSTED, 10 * MAX_PER_WINDOW, now=eighth / 8) == MAX_PER_WINDOW


def test_in_the_next_window_each_untrusted_sender_is_answered_as_often_again() -> None:
    watching = make_policy()
    for eighth in range(5):
        assert [
            count_answered(watching, host, 2 * MAX_PER_WINDOW, now=eighth / 8) for host in (*UNTRUSTED_HOSTS[:3], OTHER)
        ] == [MAX_PER_WINDOW] * 4


def test_a_window_lasts_a_tenth_of_a_second() -> None:
    watching = make_policy()
    count_answered(watching, UNTRUSTED, MAX_PER_WINDOW, now=100.0)
    assert refusal(watching, UNTRUSTED, now=100.0 + 0.99 * WINDOW) == "rate_limit"
    assert refusal(watching, UNTRUSTED, now=100.0 + 1.01 * WINDOW) is None


def test_an_untrusted_sender_of_one_datagram_a_millisecond_is_always_answered() -> None:
    watching = make_policy()
    assert {refusal(watching, UNTRUSTED, now=number / 1000) for number in range(10_000)} == {None}


def test_each_datagram_of_a_batch_counts() -> None:
    watching = make_policy()
    assert watching.refusal_reason(UNTRUSTED, PORT, MAX_PER_WINDOW, 5 * MAX_PER_WINDOW, 0.0) is None
    assert refusal(watching, UNTRUSTED) == "rate_limit"


def test_untrusted_senders_are_counted_separately() -> None:
    watching = make_policy()
    count_answered(watching, UNTRUSTED, 10 * MAX_PER_WINDOW)
    assert count_answered(watching, OTHER, MAX_PER_WINDOW) == MAX_PER_WINDOW


def test_the_ports_of_an_untrusted_sender_are_counted_together() -> None:
    watching = make_policy()
    verdicts = [refusal(watching, UNTRUSTED, 1024 + number) for number in range(2 * MAX_PER_WINDOW)]
    assert verdicts.count(None) == MAX_PER_WINDOW - sum(
        1024 + number in SERVICE_PORTS | {OWN_PORT} for number in range(MAX_PER_WINDOW)
    )


def test_mapped_ipv6_counts_as_the_same_sender() -> None:
    watching = make_policy()
    count_answered(watching, UNTRUSTED, MAX_PER_WINDOW)
    assert refusal(watching, f"::ffff:{UNTRUSTED}") == "rate_limit"


def test_the_addresses_of_one_ipv6_prefix_are_counted_together() -> None:
    watching = make_policy()
    hosts = [f"2a00:1450:1:1:{part:x}::{number:x}" for part in range(256) for number in range(4)]  # one 64-bit prefix
    assert sum(refusal(watching, host) is None for host in hosts) == MAX_PER_WINDOW


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1000}])
def test_the_length_of_the_prefix_can_be_chosen(limits: dict[str, object]) -> None:
    watching, alone = make_policy(host_prefix=56, **limits), make_policy(**limits)
    hosts = [f"2a00:1450:1:{number:x}::1" for number in range(256) for _ in range(4)]  # one 56-bit prefix
    answered = count_answered(alone, hosts[0], 1024)
    assert sum(refusal(watching, host) is None for host in hosts) == answered < 1024
    assert sum(refusal(watching, host) is None for host in ["2a00:1450:1:100::1"] * 1024) == answered


def test_the_next_ipv6_prefix_is_counted_separately() -> None:
    watching = make_policy()
    count_answered(watching, "2a00:1450:1:1::1", 2 * MAX_PER_WINDOW)
    assert count_answered(watching, "2a00:1450:1:2::1", MAX_PER_WINDOW) == MAX_PER_WINDOW


# Cost.


@pytest.mark.parametrize("host", [TRUSTED, UNTRUSTED])
@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1 << 40, "allow": ("0.0.0.0/0",), "deny": ("10.0.0.0/8",)}])
def test_a_datagram_of_a_host_seen_before_costs_one_call(host: str, limits: dict[str, object]) -> None:
    watching = make_policy(**limits)
    refusal(watching, host)
    assert calls_of(watching, [host] * 10) == ["refusal_reason"] * 10


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1 << 40}])
def test_a_datagram_of_a_new_host_costs_two_calls(limits: dict[str, object]) -> None:
    watching = make_policy(**limits)
    refusal(watching, UNTRUSTED)
    calls = calls_of(watching, [spoofed(number) for number in range(10)])
    assert calls == ["refusal_reason", "_classify"] * 10


def calls_of(policy: UdpPolicy, hosts: list[str]) -> list[str]:
    """Name the functions that run while one datagram of each host is decided on."""
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    for host in hosts:
        policy.refusal_reason(host, PORT, 1, 5, WINDOW / 2)
    sys.setprofile(None)
    return calls


# A flood of spoofed senders.


def table_sizes(policy: UdpPolicy) -> int:
    tables = (policy.trusted_hosts, policy._classes, policy._known._known, policy._known._new, policy._loops._senders)
    return max(map(len, tables))


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1000}, {"deny": ("20.0.0.0/7",)}])
def test_a_hundred_thousand_spoofed_senders_do_not_grow_the_tables(limits: dict[str, object]) -> None:
    watching = make_policy(**limits)
    for number in range(100_000):
        refusal(watching, spoofed(number), now=number / 1e4)
    assert table_sizes(watching) <= MAX_HOSTS


def test_spoofed_trusted_senders_do_not_grow_the_tables_and_are_all_answered() -> None:
    watching = make_policy()
    assert {refusal(watching, f"10.0.{n >> 8}.{n & 255}") for n in range(4 * MAX_HOSTS)} == {None}
    assert table_sizes(watching) <= MAX_HOSTS


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1 << 20}])
@pytest.mark.parametrize("known", [False, True])
def test_a_flood_of_new_senders_takes_no_answer_from_another_sender(limits: dict[str, object], known: bool) -> None:
    watching = make_policy(**limits)
    if known:
        refusal(watching, UNTRUSTED, now=-5.0)
    for number in range(60_000):
        now = number / 60_000
        assert refusal(watching, spoofed(number), now=now) is None
        if number % 600 == 0:
            assert refusal(watching, UNTRUSTED, now=now) is None
            assert refusal(watching, TRUSTED, now=now) is None


def make_flooded(**limits: object) -> UdpPolicy:
    """Have a client become known; then flood in its name, from ever other ports."""
    watching = make_policy(**limits)
    for now in (0.0, KNOWN_AFTER):
        assert refusal(watching, UNTRUSTED, now=now) is None
        sample(watching, b"hello", now, host=UNTRUSTED)
    for port in range(20_000, 30_000):
        refusal(watching, UNTRUSTED, port, now=5.0)
    return watching


def test_a_flood_in_the_name_of_a_host_leaves_its_known_sender_a_share() -> None:
    watching = make_flooded()
    assert refusal(watching, UNTRUSTED, PORT + 1, now=5.0) == "rate_limit"
    answered = sum(refusal(watching, UNTRUSTED, now=5.0) is None for _ in range(MAX_PER_WINDOW))
    assert answered == MAX_PER_WINDOW - NEW_PER_WINDOW


def test_such_a_flood_leaves_a_share_of_the_rate_limit_too() -> None:
    watching = make_flooded(rate_limit=1000)
    assert refusal(watching, UNTRUSTED, PORT + 1, now=5.0) == "rate_limit"
    assert count_answered(watching, UNTRUSTED, 100, now=5.0) * 5 >= 1000 * BURST / 2


def test_a_flood_in_the_name_of_a_host_gets_no_more_answers_than_any() -> None:
    watching = make_flooded()
    answered = sum(refusal(watching, UNTRUSTED, port, now=7.0) is None for port in range(12_000, 30_000))
    assert answered + count_answered(watching, UNTRUSTED, 1000, now=7.0) == MAX_PER_WINDOW


# Loops.


def sample(policy: UdpPolicy, payload: bytes, now: float, *, host: str = TRUSTED, port: int = PORT) -> None:
    policy.sample(host, port, memoryview(payload), now)


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 1 << 30}])
@pytest.mark.parametrize("host", [TRUSTED, UNTRUSTED])
def test_a_sender_whose_payloads_keep_coming_back_gets_no_answer_for_a_moment(
    host: str, limits: dict[str, object]
) -> None:
    watching = make_policy(**limits)
    for number in range(1101):
        assert refusal(watching, host, now=number / 100) is None
        sample(watching, b"round and round", number / 100, host=host)
        if watching._loops.silent_until:
            break
    now = number / 100
    assert TEST_INTERVAL <= now < TEST_INTERVAL + 1
    assert host not in watching.trusted_hosts
    assert refusal(watching, host, now=now) == "loop"
    assert refusal(watching, host, PORT + 1, now=now) is None
    assert refusal(watching, host, now=now + SILENCE) is None
    assert (host in watching.trusted_hosts) == (host == TRUSTED and not limits)


@pytest.mark.parametrize("size", [8, 1200, 65_507])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_number_at_either_end_of_a_payload_makes_it_a_fresh_one(size: int, at_end: bool) -> None:
    watching = make_policy()
    for number in range(2000):
        counter, rest = number.to_bytes(8, "big"), bytes(size - 8)
        sample(watching, rest + counter if at_end else counter + rest, number / 100)
    assert watching._loops.silent_until == {}


def test_refused_senders_are_not_examined() -> None:
    watching = make_policy(deny=("10.0.0.0/8",))
    sample(watching, b"hello", 0.0, port=7)
    sample(watching, b"hello", 0.0, host="10.0.0.1")
    assert watching._loops._senders == {}


# Rate limit.


@pytest.mark.parametrize("host", [TRUSTED, "10.1.2.3", UNTRUSTED, "2a00:1450::1"])
def test_the_rate_limit_applies_to_every_sender(host: str) -> None:
    watching = make_policy(rate_limit=1000)
    assert count_answered(watching, host, 1000, size=10) < 50
    assert refusal(watching, host, size=10) == "rate_limit"


def test_over_time_the_rate_limit_is_kept() -> None:
    watching = make_policy(rate_limit=1000)
    taken = sum(10 * count_answered(watching, TRUSTED, 5, now=tenth / 10, size=10) for tenth in range(100))
    assert taken == 5000  # half the rate: everything is answered
    watching = make_policy(rate_limit=1000)
    taken = sum(10 * count_answered(watching, TRUSTED, 50, now=tenth / 10, size=10) for tenth in range(100))
    assert 10_000 <= taken <= 10_000 + 1000 * BURST + 10


def test_a_datagram_larger_than_the_rate_goes_through_now_and_then() -> None:
    watching = make_policy(rate_limit=1000)
    assert refusal(watching, size=5000) is None
    assert refusal(watching, now=5 - BURST - 0.01) == "rate_limit"
    assert refusal(watching, now=5 - BURST + 0.01) is None


def test_use_beyond_the_rate_is_remembered_beyond_the_window() -> None:
    watching = make_policy(rate_limit=1000)
    refusal(watching, size=5000)
    for eighth in range(1, 38):
        assert refusal(watching, now=eighth / 8) == "rate_limit"


def test_the_rate_limit_is_per_sender() -> None:
    watching = make_policy(rate_limit=1000)
    refusal(watching, TRUSTED, size=5000)
    assert [refusal(watching, host) for host in (TRUSTED, "127.0.0.2", UNTRUSTED)] == ["rate_limit", None, None]


@pytest.mark.parametrize("rate", [1000, 1 << 40])
@pytest.mark.parametrize("size", [0, 1, 5, 1000])
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
