"""Which datagrams are answered, and how many: each rule with the time as a number."""

import pytest

from halloo._core.limits import BURST, Access, Limits
from halloo._server.udp_policy import IPV6_PREFIX_LENGTH, MAX_HOSTS, MAX_PER_WINDOW, SERVICE_PORTS, WINDOW, UdpPolicy

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


@pytest.mark.parametrize("port", [0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 1900, 5353, 11211])
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
    hosts = [f"2a00:1450:1:{net:x}::{number:x}" for net in range(256) for number in range(4)]  # one 56-bit prefix
    assert IPV6_PREFIX_LENGTH == 56
    assert sum(refusal(watching, host) is None for host in hosts) == MAX_PER_WINDOW


def test_the_next_ipv6_prefix_is_counted_separately() -> None:
    watching = make_policy()
    count_answered(watching, "2a00:1450:1:0::1", 2 * MAX_PER_WINDOW)
    assert count_answered(watching, "2a00:1450:1:100::1", MAX_PER_WINDOW) == MAX_PER_WINDOW


# A flood of spoofed senders.


def table_sizes(policy: UdpPolicy) -> int:
    tables = (policy.trusted_hosts, policy._usage, policy._usage_by_host)
    return max(policy._classify.cache_info().currsize, *map(len, tables))


@pytest.mark.parametrize(("rate", "senders"), [(None, 100_000), (1000, 4 * MAX_HOSTS)])
def test_a_hundred_thousand_spoofed_senders_do_not_grow_the_tables(rate: int | None, senders: int) -> None:
    watching = make_policy(rate_limit=rate)
    for number in range(senders):
        refusal(watching, spoofed(number), now=number / 1e6)
    assert table_sizes(watching) <= MAX_HOSTS


def test_the_addresses_of_one_ipv6_prefix_do_not_grow_the_tables() -> None:
    watching = make_policy(rate_limit=1 << 40)
    assert {refusal(watching, f"2a00:1450:1::{number:x}") for number in range(4 * MAX_HOSTS)} == {None}
    assert table_sizes(watching) <= MAX_HOSTS


def test_spoofed_trusted_senders_do_not_grow_the_tables_and_are_all_answered() -> None:
    watching = make_policy()
    assert {refusal(watching, f"10.0.{n >> 8}.{n & 255}") for n in range(4 * MAX_HOSTS)} == {None}
    assert table_sizes(watching) <= MAX_HOSTS


def test_denied_senders_do_not_grow_the_tables() -> None:
    watching = make_policy(deny=("0.0.0.0/0",))
    access = watching._access
    assert isinstance(access, Access)
    for number in range(10_000):
        refusal(watching, spoofed(number))
    assert access.permits.cache_info().currsize <= MAX_HOSTS


def test_with_a_full_table_known_and_trusted_senders_are_answered() -> None:
    watching = make_policy()
    assert sum(refusal(watching, spoofed(number)) is None for number in range(2 * MAX_HOSTS)) == MAX_HOSTS
    assert [refusal(watching, host) for host in (spoofed(0), TRUSTED, UNTRUSTED)] == [None, None, "rate_limit"]


def test_after_a_full_table_every_sender_is_answered_in_the_next_window() -> None:
    watching = make_policy()
    for number in range(2 * MAX_HOSTS):
        refusal(watching, spoofed(number))
    assert refusal(watching, UNTRUSTED, now=WINDOW) is None


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


def test_with_a_rate_limit_the_number_of_datagrams_is_not_limited() -> None:
    assert count_answered(make_policy(rate_limit=1 << 40), UNTRUSTED, 10 * MAX_PER_WINDOW) == 10 * MAX_PER_WINDOW


def test_an_empty_datagram_costs_a_token() -> None:
    assert count_answered(make_policy(rate_limit=1000), UNTRUSTED, 1000, size=0) < 300


def test_spoofed_senders_over_their_rate_exclude_others_for_one_window_at_most() -> None:
    watching = make_policy(rate_limit=1000)
    for number in range(2 * MAX_HOSTS):
        refusal(watching, spoofed(number), size=65_000)
    assert refusal(watching, UNTRUSTED) == "rate_limit"
    assert refusal(watching, UNTRUSTED, now=WINDOW) is None


def test_with_a_rate_limit_a_sender_within_its_rate_is_dropped_from_the_table() -> None:
    watching = make_policy(rate_limit=1000)
    for number in range(MAX_HOSTS // 2):
        refusal(watching, spoofed(number))
    assert refusal(watching, UNTRUSTED, now=WINDOW) is None
    assert len(watching._usage) == 1
