import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.limits import BURST, HANDSHAKE, STALL, AdmissionControl, Limits, TokenBucket
from halloo.errors import UsageError

NUMBERS = [
    each.name for each in dataclasses.fields(Limits) if each.name not in ("allow", "deny", "any_port", "host_prefix")
]

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


@pytest.mark.parametrize("value", [0, -1, 129, 64.0, None, "64"])
def test_a_prefix_that_no_ipv6_address_has_is_refused(value: Any) -> None:  # noqa: ANN401 - wrong types on purpose
    with pytest.raises(UsageError, match=r"^host_prefix must be (1 to 128 bits|a whole number), not "):
        Limits(host_prefix=value)


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


def test_clients_of_unix_sockets_have_no_host_and_count_as_connections_only() -> None:
    limits = Limits(max_per_host=1, allow=("127.0.0.1",), deny=("0.0.0.0/0",), max_connections=3)
    admission = AdmissionControl(limits)
    assert [admission.enter("") for _ in range(4)] == [None, None, None, "max_connections"]
    admission.leave("")
    assert admission.enter("") is None


def test_a_client_over_max_per_host_is_refused_and_other_hosts_are_admitted() -> None:
    admission = AdmissionControl(Limits(max_per_host=2))
    assert [admission.enter(host) for host in ("a", "a", "a", "b")] == [None, None, "max_per_host", None]


def test_a_client_that_leaves_frees_a_connection_of_its_host() -> None:
    admission = AdmissionControl(Limits(max_per_host=1))
    admission.enter("a")
    admission.enter("b")
    admission.leave("a")
    assert [admission.enter("b"), admission.enter("a")] == ["max_per_host", None]


def test_the_addresses_of_one_ipv6_prefix_are_one_host_and_the_next_prefix_is_another() -> None:
    admission = AdmissionControl(Limits(max_per_host=2))
    hosts = [f"2001:db8:0:1::{number:x}" for number in range(1, 40)]
    assert [admission.enter(host) for host in hosts] == [None, None, *["max_per_host"] * 37]
    assert admission.enter("2001:db8:0:2::1") is None
    admission.leave(hosts[0])
    assert [admission.enter(host) for host in hosts[5:7]] == [None, "max_per_host"]


def test_the_length_of_the_prefix_can_be_chosen() -> None:
    admission = AdmissionControl(Limits(max_per_host=2, host_prefix=56))
    hosts = [f"2001:db8:0:{number:x}::1" for number in range(1, 40)]
    assert [admission.enter(host) for host in hosts] == [None, None, *["max_per_host"] * 37]
    assert admission.enter("2001:db8:0:100::1") is None
    admission.leave(hosts[0])
    assert [admission.enter(host) for host in hosts[5:7]] == [None, "max_per_host"]


def test_an_ipv4_address_is_the_same_host_when_mapped_into_ipv6() -> None:
    admission = AdmissionControl(Limits(max_per_host=1))
    assert [admission.enter(host) for host in ("192.0.2.1", "::ffff:192.0.2.1")] == [None, "max_per_host"]


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
