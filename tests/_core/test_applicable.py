"""An option that no address has a use for is refused by name; one address that has is enough."""

import pytest

from halloo._core.applicable import check, check_opened
from halloo.errors import UsageError

IP, CONNECTIONS = "is for IP addresses, and unix: has none", "is for connections, and udp:// has none"


def test_an_option_without_an_address_for_it_is_refused_by_name() -> None:
    cases = [
        *(("udp", option, CONNECTIONS) for option in ("max_connections", "greeting", "max_per_host")),
        *(("unix", option, IP) for option in ("max_per_host", "host_prefix", "family", "allow", "deny")),
        ("tcp tls", "host_prefix", "is for limits per host, and there is none"),
        ("tcp udp unix", "tls.client_ca", "is for tls://, and no address is"),
        ("tcp", "handshake_timeout", "is for tls://, and no address is"),
        ("tcp tls unix", "any_port", "is for udp://, and no address is"),
        ("tcp tls udp", "mode", "is for unix:, and no address is"),
    ]
    for schemes, option, fact in cases:
        with pytest.raises(UsageError, match=fact) as caught:
            check(schemes.split(), ["max_bytes", option])
        assert caught.value.argument == option


def test_one_address_with_a_use_for_an_option_is_enough() -> None:
    check({"udp", "unix"}, ["max_connections", "any_port", "deny", "family"])
    check({"tcp", "unix"}, ["max_per_host", "allow", "family"])
    check({"tcp"}, ["max_per_host", "host_prefix"])
    check({"tcp", "tls"}, ["tls.cert", "handshake_timeout", ""])
    check({"udp"}, ["host_prefix", "max_bytes", "rate_limit", "buffer", "deny"])


def test_options_of_opening_are_refused_for_open_sockets() -> None:
    check_opened([])
    with pytest.raises(UsageError, match=r"^tls.cert has no effect on the sockets .* \(LISTEN_FDS\); leave it out"):
        check_opened(["tls.cert"])
