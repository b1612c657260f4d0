"""The options of a ping: each is checked, and each that another one makes vain is refused."""

from typing import Any

import pytest

from halloo._core.address import parse
from halloo._core.tls_options import ClientTLS
from halloo._ping.config import PingConfig, parse_goals
from halloo._ping.goals import goal
from halloo.errors import UsageError

NAN, INF = float("nan"), float("inf")
PROBES_ALONE = "is for probes of one size; leave it out, or size_sweep="
NO_PROBE = "is for probes, and none is sent; leave it out, or connect="
NO_CONNECTIONS = "needs connections, and udp:// has none"
INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("tcp", {"size": 36}, "size must be 37 to 65507 bytes, not 36"),
    ("tcp", {"size": 65_508}, "size must be 37 to 65507 bytes, not 65508"),
    ("tcp", {"size": None}, "size must be a whole number, not None"),
    ("tcp", {"count": 0}, "count must be at least 1, not 0; omit it to run until"),
    ("tcp", {"count": 2.5}, "count must be a whole number or None, not 2.5"),
    ("tcp", {"interval": -1}, "interval must be at least 0 seconds, not -1"),
    ("tcp", {"interval": INF}, "interval must be finite, not inf"),
    ("tcp", {"timeout": 1e-10}, "timeout must be more than 0 seconds, not 1e-10"),
    ("tcp", {"timeout": None}, "timeout must be a number of seconds, not None"),
    ("tcp", {"deadline": 0}, "deadline must be more than 0 seconds, not 0"),
    ("tcp", {"deadline": NAN}, "deadline must be a number of seconds or None, not nan"),
    ("tcp", {"flows": 0}, "flows must be 1 to 1000, not 0"),
    ("tcp", {"flows": 1001}, "flows must be 1 to 1000, not 1001"),
    ("tcp", {"dscp": 64}, "dscp must be 0 to 63, not 64"),
    ("tcp", {"ttl": 0}, "ttl must be 1 to 255, not 0"),
    ("tcp", {"ttl": 256}, "ttl must be 1 to 255, not 256"),
    ("tcp", {"family": 5}, "family must be 4, 6 or None, not 5"),
    ("tcp", {"bind": 5}, "bind must be an address of this machine or None, not 5"),
    *(("tcp", {name: 1}, f"{name} must be True or False") for name in ("reconnect", "connect", "size_sweep", "df")),
    *(("tcp", {name: 1}, f"{name} must be True or False") for name in ("busy_poll", "user_clock")),
    *(("unix", {name: 3}, f"{name} is for IP addresses, and unix: has none") for name in ("dscp", "ttl")),
    ("unix", {"bind": "127.0.0.1"}, "bind is for IP addresses, and unix: has none"),
    ("tcp", {"tls": ClientTLS(insecure=True)}, "TLS options do not apply to tcp://; write tls:// before the host"),
    ("tcp", {"df": True}, "df needs datagrams; write udp:// before the host"),
    ("tcp", {"size_sweep": True}, "size_sweep needs datagrams"),
    *(("udp", {name: True}, f"{name} {NO_CONNECTIONS}") for name in ("reconnect", "connect")),
    ("udp", {"size_sweep": True, "count": 3}, f"count {PROBES_ALONE}"),
    ("udp", {"size_sweep": True, "interval": 0}, f"interval {PROBES_ALONE}"),
    ("udp", {"size_sweep": True, "size": 64}, f"size {PROBES_ALONE}"),
    ("udp", {"size_sweep": True, "busy_poll": True}, f"busy_poll {PROBES_ALONE}"),
    ("tcp", {"connect": True, "size": 64}, f"size {NO_PROBE}"),
    ("tcp", {"connect": True, "user_clock": True}, f"user_clock {NO_PROBE}"),
    ("tcp", {"connect": True, "reconnect": True}, f"reconnect {NO_PROBE}"),
]
ADDRESSES = {"tcp": "127.0.0.1:9", "udp": "udp://127.0.0.1:9", "unix": "unix:/no/where"}


def test_an_invalid_option_is_named_with_what_it_has_to_be() -> None:
    for scheme, options, message in INVALID:
        with pytest.raises(UsageError) as caught:
            PingConfig(addresses=(parse(ADDRESSES[scheme]),), **options)
        assert str(caught.value).startswith(message), options


def test_a_size_sweep_may_be_given_the_usual_values_and_the_count_of_the_command() -> None:
    config = PingConfig(addresses=(parse("udp://host"),), size_sweep=True, count=None, interval=1, size=128)
    assert config.socket_options.df


def test_goals_may_be_text() -> None:
    assert parse_goals(["p99>5ms", goal("loss>1%")]) == (goal("p99>5ms"), goal("loss>1%"))
    for invalid in ("p99>5ms", [5]):
        with pytest.raises(UsageError, match="goals must be a list of goals such as 'p99>5ms', not"):
            parse_goals(invalid)  # type: ignore[arg-type]  # on purpose


def test_the_effective_options_have_nanoseconds_and_the_supplied_ones_are_those_that_differ() -> None:
    config = PingConfig(addresses=(parse("udp://host"),), interval=0.002, deadline=1e300, size_sweep=False, count=None)
    effective = config.effective()
    assert (effective["interval_ns"], effective["timeout_ns"], effective["deadline_ns"]) == (
        2_000_000,
        5_000_000_000,
        10**18,
    )
    assert config.supplied(count=None).keys() == {"addresses", "interval_ns", "deadline_ns"}
    assert config.supplied(count=10)["count"] is None
    assert "tls" not in effective
