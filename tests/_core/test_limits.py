import dataclasses
from itertools import product
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


def test_a_limit_out_of_its_range_is_refused_by_name() -> None:
    bounds = r"(more than 0 seconds|at least 1|1 to 268435456 bytes)"
    for name, value in product(NUMBERS, (0, -1)):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(UsageError, match=f"{name} must be {bounds}, not {value}"):
            Limits(**wrong)
    for prefix in (0, -1, 129, 64.0, None, "64"):
        with pytest.raises(UsageError, match=r"^host_prefix must be (1 to 128 bits|a whole number), not "):
            Limits(host_prefix=prefix)  # type: ignore[arg-type]  # wrong types on purpose


def test_only_some_limits_cost_each_connection_or_refuse_clients() -> None:
    values: dict[str, Any] = dict.fromkeys(NUMBERS, 1) | {"allow": ("127.0.0.1",), "deny": ("127.0.0.1",)}
    each = {name: Limits(**{name: value}) for name, value in values.items()}
    limited = {name for name, limits in each.items() if limits.limited}
    assert limited == {"idle_timeout", "max_lifetime", "max_bytes", "rate_limit"}
    refusing = {name for name, limits in each.items() if limits.controls_admission}
    assert refusing == {"max_connections", "max_per_host", "allow", "deny"}
    assert (Limits().controls_admission, Limits().limited) == (False, False)


def test_the_limits_that_were_set_are_named() -> None:
    assert Limits(stall_timeout=STALL).given == []
    assert Limits(max_bytes=1, stall_timeout=None, any_port=True).given == ["stall_timeout", "max_bytes", "any_port"]


# Admission control.


def test_a_client_over_a_limit_is_refused_until_another_leaves() -> None:
    admission = AdmissionControl(Limits())
    assert [admission.enter("10.0.0.1") for _ in range(1000)] == [None] * 1000
    admission = AdmissionControl(Limits(max_connections=2))
    assert [admission.enter(host) for host in ("a", "b", "c")] == [None, None, "max_connections"]
    admission.leave("a")
    assert admission.enter("d") is None
    admission = AdmissionControl(Limits(max_per_host=2))
    assert [admission.enter(host) for host in ("a", "a", "a", "b")] == [None, None, "max_per_host", None]
    admission.leave("a")
    assert [admission.enter("a"), admission.enter("a")] == [None, "max_per_host"]


@pytest.mark.parametrize(
    ("limits", "host", "another"),
    [
        (Limits(max_per_host=2), "2001:db8:0:1::{:x}", "2001:db8:0:2::1"),
        (Limits(max_per_host=2, host_prefix=56), "2001:db8:0:{:x}::1", "2001:db8:0:100::1"),
    ],
    ids=["64", "56"],
)
def test_the_addresses_of_one_ipv6_prefix_are_one_host_and_the_next_prefix_is_another(
    limits: Limits, host: str, another: str
) -> None:
    admission = AdmissionControl(limits)
    hosts = [host.format(number) for number in range(1, 40)]
    assert [admission.enter(host) for host in hosts] == [None, None, *["max_per_host"] * 37]
    assert admission.enter(another) is None
    admission.leave(hosts[0])
    assert [admission.enter(host) for host in hosts[5:7]] == [None, "max_per_host"]


def test_a_refused_client_does_not_count_as_open() -> None:
    admission = AdmissionControl(Limits(max_connections=2, max_per_host=1, deny=("10.0.0.9",)))
    hosts = ("192.0.2.1", "::ffff:192.0.2.1", "10.0.0.9", "10.0.0.2", "10.0.0.9")  # at last with max_connections
    assert [admission.enter(host) for host in hosts] == [None, "max_per_host", "denied", None, "denied"]


def test_clients_of_unix_sockets_have_no_host_and_count_as_connections_only() -> None:
    limits = Limits(max_per_host=1, allow=("127.0.0.1",), deny=("0.0.0.0/0",), max_connections=3)
    admission = AdmissionControl(limits)
    assert [admission.enter("") for _ in range(4)] == [None, None, None, "max_connections"]
    admission.leave("")
    assert admission.enter("") is None


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


def test_two_bursts_may_be_taken_before_a_pause() -> None:
    bucket = TokenBucket(1000)
    assert bucket.pause(0, 1000) <= 0
    for now in (1000, 1_000_000):  # a long time saves no more
        paid_until = bucket.take(0, now, bucket.burst_bytes)
        assert bucket.pause(paid_until, now) <= 0
        paid_until = bucket.take(paid_until, now, bucket.burst_bytes)
        assert bucket.pause(paid_until, now) == pytest.approx(BURST)


def test_tokens_are_refilled_over_time() -> None:
    bucket = TokenBucket(10)
    paid_until = bucket.take(0, 1000, 20)
    assert bucket.pause(paid_until, 1000) == pytest.approx(2 - BURST)
    assert bucket.pause(paid_until, 1002) <= 0


def test_a_burst_is_at_least_one_byte() -> None:
    for rate in (1, 2, 3, 4, 5, 7, 1000, 10**9):
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
