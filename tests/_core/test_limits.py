import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.limits import BURST, HANDSHAKE, STALL, Access, AdmissionControl, Limits, TokenBucket, network
from halloo.errors import AddressError, UsageError

NUMBERS = [each.name for each in dataclasses.fields(Limits) if each.name not in ("allow", "deny", "any_port")]

# Limits.


def test_only_stall_and_handshake_timeouts_are_set_by_default() -> None:
    limits = Limits()
    limited = {name for name in NUMBERS if getattr(limits, name) is not None}
    assert limited == {"stall_timeout", "handshake_timeout"}
    assert (limits.stall_timeout, limits.handshake_timeout) == (STALL, HANDSHAKE)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_below_its_minimum_is_refused_by_name(name: str, value: int) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(
        UsageError, match=f"{name} must be (more than 0 seconds|at least 1|1 to 268435456 bytes), not {value}"
    ):
        Limits(**wrong)


def test_the_limits_that_were_set_are_named() -> None:
    assert Limits(stall_timeout=STALL).given == []
    assert Limits(max_bytes=1, stall_timeout=None, any_port=True).given == ["stall_timeout", "max_bytes", "any_port"]


@pytest.mark.parametrize("name", ["idle_timeout", "max_lifetime", "max_bytes", "rate_limit"])
def test_a_limit_on_each_connection_makes_it_limited(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    assert Limits(**given).limited


@pytest.mark.parametrize("name", ["stall_timeout", "max_connections", "max_per_host", "max_memory", "buffer"])
def test_a_limit_without_a_cost_for_each_connection_does_not_make_it_limited(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    assert not Limits(**given).limited


@pytest.mark.parametrize(
    "given",
    [{"max_connections": 1}, {"max_per_host": 1}, {"allow": ("127.0.0.1",)}, {"deny": ("127.0.0.1",)}],
    ids=lambda given: next(iter(given)),
)
def test_a_limit_that_refuses_clients_requires_admission_control(given: dict[str, Any]) -> None:
    assert Limits(**given).controls_admission


def test_without_limits_there_is_no_admission_control_and_no_limiting() -> None:
    assert (Limits().controls_admission, Limits().limited) == (False, False)


# Admission control.


def test_without_limits_every_client_is_admitted() -> None:
    admission = AdmissionControl(Limits())
    assert [admission.enter("10.0.0.1") for _ in range(1000)] == [None] * 1000


def test_a_client_over_max_connections_is_refused() -> None:
    admission = AdmissionControl(Limits(max_connections=2))
    assert [admission.enter(host) for host in ("a", "b", "c")] == [None, None, "max_connections"]


def test_a_client_that_leaves_frees_a_connection() -> None:
    admission = AdmissionControl(Limits(max_connections=1))
    admission.enter("a")
    admission.leave("a")
    assert admission.enter("b") is None


def test_a_client_over_max_per_host_is_refused_and_other_hosts_are_admitted() -> None:
    admission = AdmissionControl(Limits(max_per_host=2))
    assert [admission.enter(host) for host in ("a", "a", "a", "b")] == [None, None, "max_per_host", None]


def test_a_client_that_leaves_frees_a_connection_of_its_host() -> None:
    admission = AdmissionControl(Limits(max_per_host=1))
    admission.enter("a")
    admission.enter("b")
    admission.leave("a")
    assert [admission.enter("b"), admission.enter("a")] == ["max_per_host", None]


def test_a_refused_client_does_not_count_as_open() -> None:
    admission = AdmissionControl(Limits(max_connections=2, max_per_host=1, deny=("10.0.0.9",)))
    assert [admission.enter(host) for host in ("10.0.0.1", "10.0.0.1", "10.0.0.9", "10.0.0.2")] == [
        None,
        "max_per_host",
        "denied",
        None,
    ]


def test_a_denied_host_is_reported_as_denied_even_at_max_connections() -> None:
    admission = AdmissionControl(Limits(max_connections=1, deny=("10.0.0.9",)))
    admission.enter("10.0.0.1")
    assert admission.enter("10.0.0.9") == "denied"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=50))
def test_the_limits_are_never_exceeded(events: list[tuple[bool, str]]) -> None:
    admission, open_hosts = AdmissionControl(Limits(max_connections=4, max_per_host=2)), list[str]()
    for entering, host in events:
        if entering and admission.enter(host) is None:
            open_hosts.append(host)
        elif not entering and host in open_hosts:
            open_hosts.remove(host)
            admission.leave(host)
        assert len(open_hosts) <= 4
        assert all(open_hosts.count(each) <= 2 for each in open_hosts)


# The token bucket. Its user takes at most one burst, and then waits for the pause that it returns.


def test_a_full_bucket_needs_no_pause() -> None:
    assert TokenBucket(1000).pause(0, 1000) <= 0


def test_two_bursts_may_be_taken_before_a_pause() -> None:
    bucket = TokenBucket(1000)
    paid_until = bucket.take(0, 1000, bucket.burst_bytes)
    assert bucket.pause(paid_until, 1000) <= 0
    paid_until = bucket.take(paid_until, 1000, bucket.burst_bytes)
    assert bucket.pause(paid_until, 1000) == pytest.approx(BURST)


def test_tokens_are_refilled_over_time() -> None:
    bucket = TokenBucket(10)
    paid_until = bucket.take(0, 1000, 20)
    assert bucket.pause(paid_until, 1000) == pytest.approx(2 - BURST)
    assert bucket.pause(paid_until, 1002) <= 0


def test_a_long_idle_time_saves_at_most_one_burst() -> None:
    bucket = TokenBucket(1000)
    paid_until = bucket.take(0, 1000, 250)
    paid_until = bucket.take(paid_until, 1_000_000, 500)
    assert bucket.pause(paid_until, 1_000_000) == pytest.approx(BURST)


@pytest.mark.parametrize("rate", [1, 2, 3, 4, 5, 7, 1000, 10**9])
def test_a_burst_is_at_least_one_byte(rate: int) -> None:
    bucket = TokenBucket(rate)
    assert bucket.burst_bytes == max(int(rate * BURST), 1)
    assert bucket.burst * rate >= bucket.burst_bytes


@given(
    rate=st.integers(1, 10**9),
    start=st.integers(0, 10**6),
    requests=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10**9)), max_size=50),
)
def test_the_bytes_taken_never_exceed_the_rate_plus_two_bursts(
    rate: int, start: int, requests: list[tuple[int, int]]
) -> None:
    bucket, paid_until, now, taken = TokenBucket(rate), 0.0, start, 0
    for wait, requested in requests:  # the clock shows whole seconds
        now += wait
        if bucket.pause(paid_until, now) <= 0:
            size = min(bucket.burst_bytes, requested)
            paid_until = bucket.take(paid_until, now, size)
            taken += size
        assert taken <= rate * (now - start) + 2 * bucket.burst_bytes + 1


@given(rate=st.integers(1, 10**9), now=st.integers(0, 10**6), size=st.integers(1, 10**9))
def test_after_the_pause_no_further_pause_is_needed(rate: int, now: int, size: int) -> None:
    bucket = TokenBucket(rate)
    paid_until = bucket.take(0, now, size)
    later = now + max(bucket.pause(paid_until, now), 0)
    assert bucket.pause(paid_until, later) == pytest.approx(0, abs=1e-6) or bucket.pause(paid_until, later) < 0


@given(rate=st.integers(1, 10**9), sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=20))
def test_a_constant_demand_gets_the_full_rate(rate: int, sizes: list[int]) -> None:
    bucket, paid_until, now, taken = TokenBucket(rate), 0.0, 0.0, 0
    for size in sizes:
        now += max(bucket.pause(paid_until, now), 0)
        size_taken = min(bucket.burst_bytes, size)
        paid_until = bucket.take(paid_until, now, size_taken)
        taken += size_taken
    assert taken >= rate * now * (1 - 1e-6)


def test_empty_access_lists_permit_every_host() -> None:
    assert Access().permits("10.0.0.1")
    assert not Access()


def test_an_allow_list_denies_all_other_hosts() -> None:
    access = Access(allow=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1", "::1")] == [True, False, False]


def test_a_deny_list_permits_all_other_hosts() -> None:
    access = Access(deny=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1")] == [False, True]


def test_deny_takes_precedence_over_allow() -> None:
    access = Access(allow=["10.0.0.0/8"], deny=["10.0.0.1"])
    assert [access.permits(host) for host in ("10.0.0.1", "10.0.0.2")] == [False, True]


def test_a_wider_deny_takes_precedence_over_a_narrower_allow() -> None:
    assert not Access(allow=["10.0.0.1"], deny=["10.0.0.0/8"]).permits("10.0.0.1")


def test_a_host_in_any_allowed_network_is_permitted() -> None:
    access = Access(allow=["10.0.0.0/8", "fd00::/8"])
    assert access.permits("10.0.0.1")
    assert access.permits("fd00::1")


def test_a_single_address_is_a_network_of_one() -> None:
    access = Access(allow=["127.0.0.1"])
    assert [access.permits(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, False]


def test_a_network_may_be_written_with_any_of_its_addresses() -> None:
    assert Access(allow=["10.1.2.3/8"]).permits("10.200.0.1")


def test_an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() -> None:
    assert not Access(deny=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")
    assert Access(allow=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")


def test_a_network_may_be_written_as_ipv4_mapped() -> None:
    assert not Access(deny=["::ffff:10.0.0.1"]).permits("10.0.0.1")
    assert not Access(deny=["::ffff:10.0.0.0/104"]).permits("::ffff:10.0.0.1")


def test_the_interface_of_an_address_is_ignored() -> None:
    assert not Access(deny=["fe80::/10"]).permits("fe80::1%eth0")


def test_a_peer_without_an_address_is_permitted_by_a_deny_list() -> None:
    assert Access(deny=["0.0.0.0/0", "::/0"]).permits("")


def test_a_peer_without_an_address_is_denied_by_an_allow_list() -> None:
    assert not Access(allow=["0.0.0.0/0", "::/0"]).permits("")


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "fd00::/129", " 10.0.0.1"])
def test_an_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not a network"):
        network(text)


@pytest.mark.parametrize("lists", [{"allow": ["nowhere"]}, {"deny": ["nowhere"]}], ids=["allow", "deny"])
def test_both_lists_are_parsed_on_construction(lists: dict[str, list[str]]) -> None:
    with pytest.raises(AddressError, match="'nowhere' is not a network"):
        Access(**lists)
