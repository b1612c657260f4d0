"""An option that no address has a use for is refused by name; one address that has is enough."""

import pytest

from halloo._core.applicable import check, check_opened
from halloo.errors import UsageError

IP, CONNECTIONS = "is for IP addresses, and unix: has none", "is for connections, and udp:// has none"


@pytest.mark.parametrize(
    ("schemes", "option", "fact"),
    [
        ({"udp"}, "max_connections", CONNECTIONS),
        ({"udp"}, "greeting", CONNECTIONS),
        ({"udp"}, "max_per_host", CONNECTIONS),
        ({"unix"}, "max_per_host", IP),
        ({"unix"}, "host_prefix", IP),
        ({"tcp", "tls"}, "host_prefix", "is for limits per host, and there is none"),
        ({"unix"}, "family", IP),
        ({"unix"}, "allow", IP),
        ({"unix"}, "deny", IP),
        ({"tcp", "udp", "unix"}, "tls.client_ca", "is for tls://, and no address is"),
        ({"tcp"}, "handshake_timeout", "is for tls://, and no address is"),
        ({"tcp", "tls", "unix"}, "any_port", "is for udp://, and no address is"),
        ({"tcp", "tls", "udp"}, "mode", "is for unix:, and no address is"),
    ],
)
def test_an_option_without_an_address_for_it_is_refused_by_name(schemes: set[str], option: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact) as caught:
        check(schemes, ["max_bytes", option])
    assert caught.value.argument == option


@pytest.mark.parametrize(
    ("schemes", "options"),
    [
        ({"udp", "unix"}, ["max_connections", "any_port", "deny", "family"]),
        ({"tcp", "unix"}, ["max_per_host", "allow", "family"]),
        ({"tcp"}, ["max_per_host", "host_prefix"]),
        ({"udp"}, ["host_prefix"]),
        ({"tcp", "tls"}, ["tls.cert", "handshake_timeout", ""]),
        ({"udp"}, ["max_bytes", "rate_limit", "buffer", "deny"]),
    ],
)
def test_one_address_with_a_use_for_an_option_is_enough(schemes: set[str], options: list[str]) -> None:
    check(schemes, options)


def test_options_of_opening_are_refused_for_open_sockets() -> None:
    check_opened([])
    with pytest.raises(UsageError, match=r"^tls.cert has no effect on the sockets .* \(LISTEN_FDS\); leave it out"):
        check_opened(["tls.cert"])
