"""Refuse options that none of the addresses has a use for. Pure: no I/O, no clock, no randomness.

An option without effect would mislead: a port without the certificates that were asked for is open to everyone.
"""

from collections.abc import Collection
from typing import NamedTuple

from halloo.errors import UsageError


class Rule(NamedTuple):
    """Options that need an address of one of some schemes, unless another option makes them apply."""

    schemes: set[str]
    options: set[str]
    fact: str
    remedy: str = "leave it out"
    unless: str | None = None


_OF_CONNECTIONS = {"idle_timeout", "max_lifetime", "stall_timeout", "max_connections", "max_memory", "greeting"}
_OF_HOSTS = {"max_per_host", "family", "allow", "deny", "host_prefix", "bind", "dscp", "ttl"}
_OF_TLS = {"tls", "tls.cert", "tls.client_ca", "handshake_timeout"}
_SERVE_TCP, _WRITE_TLS = "leave it out, or serve tcp:// as well", "write tls:// before the host or the port"
_PER_HOST = "leave it out, or give max_per_host= as well"
RULES = (
    Rule(
        {"tcp", "tls", "unix"},
        {*_OF_CONNECTIONS, "max_per_host"},
        "is for connections, and udp:// has none",
        _SERVE_TCP,
    ),
    Rule({"tcp", "tls", "udp"}, _OF_HOSTS, "is for IP addresses, and unix: has none"),
    Rule({"tls"}, _OF_TLS, "is for tls://, and no address is", _WRITE_TLS),
    Rule({"udp"}, {"any_port"}, "is for udp://, and no address is"),
    Rule({"udp"}, {"host_prefix"}, "is for limits per host, and there is none", _PER_HOST, unless="max_per_host"),
    Rule({"unix"}, {"mode"}, "is for unix:, and no address is"),
)


def check(schemes: Collection[str], options: Collection[str]) -> None:
    """Check that each of the options that were given applies to an address of these schemes. Raises UsageError."""
    for rule in RULES:
        if rule.unless in options or not rule.schemes.isdisjoint(schemes):
            continue
        if vain := [name for name in options if name in rule.options]:
            raise UsageError(rule.fact, rule.remedy, argument=vain[0])


def check_opened(options: Collection[str]) -> None:
    """Check that no option is given that only applies when sockets are opened. Raises UsageError."""
    for name in options:
        fact = "has no effect on the sockets that the service manager has opened (LISTEN_FDS)"
        raise UsageError(fact, "leave it out, or name the addresses to listen on", argument=name)


def check_shared(schemes: Collection[str]) -> None:
    """Check that each worker can have a socket of its own. Raises UsageError."""
    if "unix" in schemes:
        raise UsageError("cannot open unix: more than once", "leave it out", argument="reuse_port")
