"""Whose datagrams are answered, and how many: each rule with the time as a number."""

import pytest

from halloo._core.limits import BURST, Access, Limits
from halloo._server.udp_policy import CUSTOMER, MOST, REMEMBERED, SERVICES, WINDOW, UdpPolicy

OWN = 8888
PORT = 40_000
FRIEND, STRANGER, OTHER = "127.0.0.1", "8.8.8.8", "9.9.9.9"
FRIENDS = [
    *("127.0.0.1", "127.3.2.1", "::1"),  # loopback
    *("169.254.7.7", "fe80::1%eth0"),  # of one link
    *("10.1.2.3", "172.16.0.1", "192.168.178.20", "fd12:3456::1"),  # private
    *("::ffff:127.0.0.1", "::ffff:10.1.2.3"),  # IPv4 at a socket for both
]
STRANGERS = ["8.8.8.8", "100.64.0.1", "2a00:1450::1", "2002:808:808::1", "::ffff:8.8.8.8"]


def guard(**limits: object) -> UdpPolicy:
    return UdpPolicy(Limits(**limits), {OWN})  # type: ignore[arg-type] # each test gives what Limits has


def verdict(guard: UdpPolicy, host: str = FRIEND, port: int = PORT, *, now: float = 0.0, size: int = 5) -> str | None:
    """Ask about one datagram."""
    return guard.refuses(host, port, 1, size, now)


def answered(guard: UdpPolicy, host: str, count: int, *, now: float = 0.0, size: int = 5) -> int:
    """Ask about so many datagrams at one time; say how many are answered."""
    return sum(verdict(guard, host, now=now, size=size) is None for _ in range(count))


def spoofed(number: int) -> str:
    """Invent a sender far away, another one for each number."""
    return f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1"


# Ports.


@pytest.mark.parametrize("port", [0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 1900, 5353, 11211])
def test_the_ports_of_other_services_are_not_answered(port: int) -> None:
    assert verdict(guard(), port=port) == "service_port"
    assert port in SERVICES


def test_any_other_port_is_answered() -> None:
    watching = guard()
    refused = {port for port in range(65536) if verdict(watching, port=port)}
    assert refused == SERVICES | {OWN}


@pytest.mark.parametrize("host", [FRIEND, STRANGER])
def test_the_server_s_own_port_is_not_answered_wherever_it_is(host: str) -> None:
    assert verdict(guard(), host, OWN) == "own_port"


def test_each_of_several_ports_of_one_s_own_counts() -> None:
    watching = UdpPolicy(Limits(), {OWN, 9999})
    assert [verdict(watching, port=port) for port in (OWN, 9999, PORT)] == ["own_port", "own_port", None]


def test_a_server_at_a_service_s_port_calls_it_its_own() -> None:
    assert verdict(UdpPolicy(Limits(), {7}), port=7) == "own_port"


def test_any_port_answers_other_services_too_but_never_itself() -> None:
    watching = guard(any_port=True)
    assert {port for port in range(65536) if verdict(watching, port=port)} == {OWN}


# Senders that are none.


@pytest.mark.parametrize("host", ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::101", "::ffff:224.0.0.1"])
def test_a_group_is_no_sender(host: str) -> None:
    assert verdict(guard(), host) == "sender"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_nobody_is_no_sender(host: str) -> None:
    assert verdict(guard(), host) == "sender"


@pytest.mark.parametrize("host", ["255.255.255.255", "::ffff:255.255.255.255"])
def test_everybody_is_no_sender(host: str) -> None:
    assert verdict(guard(), host) == "sender"


def test_what_is_no_sender_is_none_even_when_it_is_allowed() -> None:
    assert verdict(guard(allow=("0.0.0.0/0",)), "255.255.255.255") == "sender"


# Who is denied.


def test_who_is_denied_is_not_answered_and_others_are() -> None:
    watching = guard(deny=("127.0.0.2", "10.0.0.0/8"))
    assert [verdict(watching, host) for host in ("127.0.0.2", "10.1.2.3", FRIEND)] == ["denied", "denied", None]


def test_who_is_not_among_the_allowed_is_not_answered() -> None:
    watching = guard(allow=("127.0.0.0/8",))
    assert [verdict(watching, host) for host in (FRIEND, "10.1.2.3", STRANGER)] == [None, "denied", "denied"]


def test_who_is_denied_is_denied_as_ipv4_in_ipv6_too() -> None:
    assert verdict(guard(deny=("10.0.0.0/8",)), "::ffff:10.1.2.3") == "denied"


def test_who_is_denied_becomes_no_friend() -> None:
    watching = guard(deny=("10.0.0.0/8",))
    verdict(watching, "10.1.2.3")
    assert watching.friends == set()


# Friends.


@pytest.mark.parametrize("host", FRIENDS)
def test_friends_are_answered_without_end(host: str) -> None:
    assert answered(guard(), host, 10 * MOST) == 10 * MOST


@pytest.mark.parametrize("host", FRIENDS)
def test_a_friend_is_known_by_its_name_from_the_first_datagram_on(host: str) -> None:
    watching = guard()
    verdict(watching, host)
    assert watching.friends == {host}


def test_a_friend_s_datagrams_cost_no_stranger_anything() -> None:
    watching = guard()
    answered(watching, FRIEND, 10 * MOST)
    assert answered(watching, STRANGER, MOST) == MOST


def test_with_a_rate_nobody_is_a_friend() -> None:
    watching = guard(rate_limit=1000)
    verdict(watching, FRIEND)
    assert watching.friends == set()


# Strangers.


@pytest.mark.parametrize("host", STRANGERS)
def test_a_stranger_is_answered_so_often_in_a_moment_and_no_more(host: str) -> None:
    watching = guard()
    assert answered(watching, host, 2 * MOST) == MOST
    assert verdict(watching, host) == "rate_limit"
    assert watching.friends == set()


def test_nobody_is_muted_in_the_next_moment_a_stranger_is_answered_as_often_again() -> None:
    watching = guard()
    for eighth in range(50):
        assert answered(watching, STRANGER, 10 * MOST, now=eighth / 8) == MOST


def test_of_several_strangers_each_is_answered_as_often_again() -> None:
    watching = guard()
    for eighth in range(5):
        assert [answered(watching, host, 2 * MOST, now=eighth / 8) for host in (*STRANGERS[:3], OTHER)] == [MOST] * 4


def test_a_moment_lasts_a_tenth_of_a_second() -> None:
    watching = guard()
    answered(watching, STRANGER, MOST, now=100.0)
    assert verdict(watching, STRANGER, now=100.0 + 0.99 * WINDOW) == "rate_limit"
    assert verdict(watching, STRANGER, now=100.0 + 1.01 * WINDOW) is None


def test_a_stranger_who_sends_the_same_every_millisecond_is_always_answered() -> None:
    watching = guard()
    assert {verdict(watching, STRANGER, now=number / 1000) for number in range(10_000)} == {None}


def test_each_datagram_of_a_train_counts() -> None:
    watching = guard()
    assert watching.refuses(STRANGER, PORT, MOST, 5 * MOST, 0.0) is None
    assert verdict(watching, STRANGER) == "rate_limit"


def test_one_stranger_costs_another_nothing() -> None:
    watching = guard()
    answered(watching, STRANGER, 10 * MOST)
    assert answered(watching, OTHER, MOST) == MOST


def test_a_stranger_s_ports_share_one_account() -> None:
    watching = guard()
    verdicts = [verdict(watching, STRANGER, 1024 + number) for number in range(2 * MOST)]
    assert verdicts.count(None) == MOST - sum(1024 + number in SERVICES | {OWN} for number in range(MOST))


def test_ipv4_in_ipv6_is_the_same_stranger() -> None:
    watching = guard()
    answered(watching, STRANGER, MOST)
    assert verdict(watching, f"::ffff:{STRANGER}") == "rate_limit"


def test_the_addresses_of_one_customer_share_one_account() -> None:
    watching = guard()
    hosts = [f"2a00:1450:1:{net:x}::{number:x}" for net in range(256) for number in range(4)]  # 56 bits are the same
    assert CUSTOMER == 56
    assert sum(verdict(watching, host) is None for host in hosts) == MOST


def test_the_next_customer_has_an_account_of_its_own() -> None:
    watching = guard()
    answered(watching, "2a00:1450:1:0::1", 2 * MOST)
    assert answered(watching, "2a00:1450:1:100::1", MOST) == MOST


# A flood of false senders.


def remembered(guard: UdpPolicy) -> int:
    tables = (guard.friends, guard._taken, guard._accounts)
    return max(guard._known.cache_info().currsize, *map(len, tables))


@pytest.mark.parametrize(("rate", "senders"), [(None, 100_000), (1000, 4 * REMEMBERED)])
def test_a_hundred_thousand_false_senders_do_not_grow_what_is_remembered(rate: int | None, senders: int) -> None:
    watching = guard(rate_limit=rate)
    for number in range(senders):
        verdict(watching, spoofed(number), now=number / 1e6)
    assert remembered(watching) <= REMEMBERED


def test_the_addresses_of_one_customer_do_not_either() -> None:
    watching = guard(rate_limit=1 << 40)
    assert {verdict(watching, f"2a00:1450:1::{number:x}") for number in range(4 * REMEMBERED)} == {None}
    assert remembered(watching) <= REMEMBERED


def test_false_friends_do_not_either_and_are_all_answered() -> None:
    watching = guard()
    assert {verdict(watching, f"10.0.{n >> 8}.{n & 255}") for n in range(4 * REMEMBERED)} == {None}
    assert remembered(watching) <= REMEMBERED


def test_who_is_denied_is_not_remembered_without_end_either() -> None:
    watching = guard(deny=("0.0.0.0/0",))
    access = watching._access
    assert isinstance(access, Access)
    for number in range(10_000):
        verdict(watching, spoofed(number))
    assert access.permits.cache_info().currsize <= REMEMBERED


def test_when_no_more_strangers_can_be_remembered_those_that_are_and_friends_are_answered() -> None:
    watching = guard()
    assert sum(verdict(watching, spoofed(number)) is None for number in range(2 * REMEMBERED)) == REMEMBERED
    assert [verdict(watching, host) for host in (spoofed(0), FRIEND, STRANGER)] == [None, None, "rate_limit"]


def test_and_in_the_next_moment_everybody_is_again() -> None:
    watching = guard()
    for number in range(2 * REMEMBERED):
        verdict(watching, spoofed(number))
    assert verdict(watching, STRANGER, now=WINDOW) is None


# A rate.


@pytest.mark.parametrize("host", [FRIEND, "10.1.2.3", STRANGER, "2a00:1450::1"])
def test_a_rate_is_for_everybody(host: str) -> None:
    watching = guard(rate_limit=1000)
    assert answered(watching, host, 1000, size=10) < 50
    assert verdict(watching, host, size=10) == "rate_limit"


def test_over_time_a_rate_is_kept() -> None:
    watching = guard(rate_limit=1000)
    taken = sum(10 * answered(watching, FRIEND, 5, now=tenth / 10, size=10) for tenth in range(100))
    assert taken == 5000  # half of what is allowed: all of it
    watching = guard(rate_limit=1000)
    taken = sum(10 * answered(watching, FRIEND, 50, now=tenth / 10, size=10) for tenth in range(100))
    assert 10_000 <= taken <= 10_000 + 1000 * BURST + 10


def test_a_datagram_larger_than_the_rate_goes_through_now_and_then() -> None:
    watching = guard(rate_limit=1000)
    assert verdict(watching, size=5000) is None
    assert verdict(watching, now=5 - BURST - 0.01) == "rate_limit"
    assert verdict(watching, now=5 - BURST + 0.01) is None


def test_what_is_overdrawn_is_remembered_beyond_the_moment() -> None:
    watching = guard(rate_limit=1000)
    verdict(watching, size=5000)
    for eighth in range(1, 38):
        assert verdict(watching, now=eighth / 8) == "rate_limit"


def test_with_a_rate_each_has_its_own() -> None:
    watching = guard(rate_limit=1000)
    verdict(watching, FRIEND, size=5000)
    assert [verdict(watching, host) for host in (FRIEND, "127.0.0.2", STRANGER)] == ["rate_limit", None, None]


def test_a_rate_is_no_limit_of_datagrams() -> None:
    assert answered(guard(rate_limit=1 << 40), STRANGER, 10 * MOST) == 10 * MOST


def test_an_empty_datagram_is_not_for_nothing() -> None:
    assert answered(guard(rate_limit=1000), STRANGER, 1000, size=0) < 300


def test_false_senders_who_overdraw_keep_nobody_out_for_longer_than_a_moment() -> None:
    watching = guard(rate_limit=1000)
    for number in range(2 * REMEMBERED):
        verdict(watching, spoofed(number), size=65_000)
    assert verdict(watching, STRANGER) == "rate_limit"
    assert verdict(watching, STRANGER, now=WINDOW) is None


def test_with_a_rate_who_has_paid_is_forgotten() -> None:
    watching = guard(rate_limit=1000)
    for number in range(REMEMBERED // 2):
        verdict(watching, spoofed(number))
    assert verdict(watching, STRANGER, now=WINDOW) is None
    assert len(watching._taken) == 1
