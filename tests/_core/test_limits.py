import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.limits import BURST, HANDSHAKE, STALL, Access, AdmissionControl, Limits, TokenBucket, network
from halloo.errors import AddressError, UsageError

NUMBERS = [each.name for each in dataclasses.fields(Limits) if each.name not in ("allow", "deny", "any_port")]

# Limits.


def test_nothing_is_limited_unless_asked_for_but_stalling() -> None:
    limits = Limits()
    limited = {name for name in NUMBERS if getattr(limits, name) is not None}
    assert limited == {"stall_timeout", "handshake_timeout"}
    assert (limits.stall_timeout, limits.handshake_timeout) == (STALL, HANDSHAKE)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_refused_by_its_name(name: str, value: int) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"{name} must be (more than 0 and finite|at least 1), not {value}"):
        Limits(**wrong)


def test_what_only_connections_have_is_named() -> None:
    assert Limits(max_bytes=1, rate_limit=1, buffer=1, allow=("::1",), any_port=True).of_connections == []
    assert Limits(max_memory=1, idle_timeout=1, stall_timeout=1).of_connections == [
        *("idle_timeout", "stall_timeout", "max_memory"),
    ]


@pytest.mark.parametrize("name", ["idle_timeout", "max_lifetime", "max_bytes", "rate_limit"])
def test_what_is_kept_for_each_connection_makes_it_metered(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    assert Limits(**given).limited


@pytest.mark.parametrize("name", ["stall_timeout", "max_connections", "max_per_host", "max_memory", "buffer"])
def test_what_costs_a_flowing_connection_nothing_does_not(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    assert not Limits(**given).limited


@pytest.mark.parametrize(
    "given",
    [{"max_connections": 1}, {"max_per_host": 1}, {"allow": ("127.0.0.1",)}, {"deny": ("127.0.0.1",)}],
    ids=lambda given: next(iter(given)),
)
def test_what_turns_clients_away_needs_a_gate(given: dict[str, Any]) -> None:
    assert Limits(**given).controls_admission


def test_without_any_limit_there_is_no_gate_and_no_meter() -> None:
    assert (Limits().controls_admission, Limits().limited) == (False, False)


# The gate.


def test_everybody_comes_in_where_nothing_is_limited() -> None:
    gate = AdmissionControl(Limits())
    assert [gate.enter("10.0.0.1") for _ in range(1000)] == [None] * 1000


def test_one_more_than_may_be_there_is_turned_away() -> None:
    gate = AdmissionControl(Limits(max_connections=2))
    assert [gate.enter(host) for host in ("a", "b", "c")] == [None, None, "max_connections"]


def test_who_leaves_makes_room() -> None:
    gate = AdmissionControl(Limits(max_connections=1))
    gate.enter("a")
    gate.leave("a")
    assert gate.enter("b") is None


def test_one_more_of_a_host_is_turned_away_and_others_are_not() -> None:
    gate = AdmissionControl(Limits(max_per_host=2))
    assert [gate.enter(host) for host in ("a", "a", "a", "b")] == [None, None, "max_per_host", None]


def test_who_leaves_makes_room_for_its_own_host() -> None:
    gate = AdmissionControl(Limits(max_per_host=1))
    gate.enter("a")
    gate.enter("b")
    gate.leave("a")
    assert [gate.enter("b"), gate.enter("a")] == ["max_per_host", None]


def test_who_is_turned_away_takes_no_room() -> None:
    gate = AdmissionControl(Limits(max_connections=2, max_per_host=1, deny=("10.0.0.9",)))
    assert [gate.enter(host) for host in ("10.0.0.1", "10.0.0.1", "10.0.0.9", "10.0.0.2")] == [
        None,
        "max_per_host",
        "denied",
        None,
    ]


def test_who_is_denied_is_told_so_even_when_the_house_is_full() -> None:
    gate = AdmissionControl(Limits(max_connections=1, deny=("10.0.0.9",)))
    gate.enter("10.0.0.1")
    assert gate.enter("10.0.0.9") == "denied"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=50))
def test_there_are_never_more_than_may_be(moves: list[tuple[bool, str]]) -> None:
    gate, here = AdmissionControl(Limits(max_connections=4, max_per_host=2)), list[str]()
    for coming, host in moves:
        if coming and gate.enter(host) is None:
            here.append(host)
        elif not coming and host in here:
            here.remove(host)
            gate.leave(host)
        assert len(here) <= 4
        assert all(here.count(each) <= 2 for each in here)


# The meter. Whoever keeps to it takes a burst at most, and then waits for the pause that it asks for.


def test_at_first_there_is_no_pause() -> None:
    assert TokenBucket(1000).pause(0, 1000) <= 0


def test_a_burst_may_be_taken_at_once_and_then_another_when_it_is_due() -> None:
    meter = TokenBucket(1000)
    paid = meter.take(0, 1000, meter.burst_bytes)
    assert meter.pause(paid, 1000) <= 0
    paid = meter.take(paid, 1000, meter.burst_bytes)
    assert meter.pause(paid, 1000) == pytest.approx(BURST)


def test_what_was_taken_is_paid_for_with_time() -> None:
    meter = TokenBucket(10)
    paid = meter.take(0, 1000, 20)
    assert meter.pause(paid, 1000) == pytest.approx(2 - BURST)
    assert meter.pause(paid, 1002) <= 0


def test_a_long_rest_saves_up_no_more_than_a_burst() -> None:
    meter = TokenBucket(1000)
    paid = meter.take(0, 1000, 250)
    paid = meter.take(paid, 1_000_000, 500)
    assert meter.pause(paid, 1_000_000) == pytest.approx(BURST)


@pytest.mark.parametrize("rate", [1, 2, 3, 4, 5, 7, 1000, 10**9])
def test_a_burst_is_a_byte_at_least_and_what_the_rate_gives_in_its_time(rate: int) -> None:
    meter = TokenBucket(rate)
    assert meter.burst_bytes == max(int(rate * BURST), 1)
    assert meter.burst * rate >= meter.burst_bytes


@given(
    rate=st.integers(1, 10**9),
    start=st.integers(0, 10**6),
    wishes=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10**9)), max_size=50),
)
def test_never_more_is_taken_than_the_rate_gives_in_the_time_and_two_bursts(
    rate: int, start: int, wishes: list[tuple[int, int]]
) -> None:
    meter, paid, now, taken = TokenBucket(rate), 0.0, start, 0
    for wait, wish in wishes:  # the clock shows whole seconds
        now += wait
        if meter.pause(paid, now) <= 0:
            size = min(meter.burst_bytes, wish)
            paid = meter.take(paid, now, size)
            taken += size
        assert taken <= rate * (now - start) + 2 * meter.burst_bytes + 1


@given(rate=st.integers(1, 10**9), now=st.integers(0, 10**6), size=st.integers(1, 10**9))
def test_after_the_pause_there_is_none(rate: int, now: int, size: int) -> None:
    meter = TokenBucket(rate)
    paid = meter.take(0, now, size)
    later = now + max(meter.pause(paid, now), 0)
    assert meter.pause(paid, later) == pytest.approx(0, abs=1e-6) or meter.pause(paid, later) < 0


@given(rate=st.integers(1, 10**9), sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=20))
def test_who_always_wants_more_gets_the_rate(rate: int, sizes: list[int]) -> None:
    meter, paid, now, taken = TokenBucket(rate), 0.0, 0.0, 0
    for size in sizes:
        now += max(meter.pause(paid, now), 0)
        got = min(meter.burst_bytes, size)
        paid = meter.take(paid, now, got)
        taken += got
    assert taken >= rate * now * (1 - 1e-6)


def test_everybody_comes_in_where_nobody_is_named() -> None:
    assert Access().permits("10.0.0.1")
    assert not Access()


def test_where_somebody_is_allowed_nobody_else_is() -> None:
    access = Access(allow=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1", "::1")] == [True, False, False]


def test_who_is_denied_does_not_come_in_and_others_do() -> None:
    access = Access(deny=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1")] == [False, True]


def test_denial_wins() -> None:
    access = Access(allow=["10.0.0.0/8"], deny=["10.0.0.1"])
    assert [access.permits(host) for host in ("10.0.0.1", "10.0.0.2")] == [False, True]


def test_the_wider_denial_wins_over_the_narrower_permission() -> None:
    assert not Access(allow=["10.0.0.1"], deny=["10.0.0.0/8"]).permits("10.0.0.1")


def test_any_of_several_networks_will_do() -> None:
    access = Access(allow=["10.0.0.0/8", "fd00::/8"])
    assert access.permits("10.0.0.1")
    assert access.permits("fd00::1")


def test_a_single_address_is_a_network_of_one() -> None:
    access = Access(allow=["127.0.0.1"])
    assert [access.permits(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, False]


def test_a_network_may_be_named_by_any_of_its_addresses() -> None:
    assert Access(allow=["10.1.2.3/8"]).permits("10.200.0.1")


def test_an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() -> None:
    assert not Access(deny=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")
    assert Access(allow=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")


def test_a_network_may_be_written_as_mapped_ones_are() -> None:
    assert not Access(deny=["::ffff:10.0.0.1"]).permits("10.0.0.1")
    assert not Access(deny=["::ffff:10.0.0.0/104"]).permits("::ffff:10.0.0.1")


def test_the_interface_of_an_address_plays_no_part() -> None:
    assert not Access(deny=["fe80::/10"]).permits("fe80::1%eth0")


def test_who_has_no_address_comes_in_where_only_some_are_denied() -> None:
    assert Access(deny=["0.0.0.0/0", "::/0"]).permits("")


def test_who_has_no_address_does_not_come_in_where_only_some_are_allowed() -> None:
    assert not Access(allow=["0.0.0.0/0", "::/0"]).permits("")


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "fd00::/129", " 10.0.0.1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not a network"):
        network(text)


@pytest.mark.parametrize("lists", [{"allow": ["nowhere"]}, {"deny": ["nowhere"]}], ids=["allow", "deny"])
def test_both_lists_are_read_at_once(lists: dict[str, list[str]]) -> None:
    with pytest.raises(AddressError, match="'nowhere' is not a network"):
        Access(**lists)
