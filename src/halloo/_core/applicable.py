"""Refuse options that none of the addresses has a use for. Pure: no I/O, no clock, no randomness.

An option without effect would mislead: a port without the certificates that were asked for is open to everyone.
"""

from collections.abc import Collection
from dataclasses import dataclass

from halloo.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rule:
    """Options that need an address of one of some schemes."""

    schemes: frozenset[str]
    options: frozenset[str]
    fact: str
    remedy: str
    unless: str | None = None  # another option, whose presence makes it apply


_OF_CONNECTIONS = {"idle_timeout", "max_lifetime", "stall_timeout", "max_connections", "max_memory", "greeting"}
RULES = (
    Rule(
        frozenset({"tcp", "tls", "unix"}),
        frozenset({*_OF_CONNECTIONS, "max_per_host"}),
        "is for connections, and udp:// has none",
        "leave it out, or serve tcp:// as well",
    ),
    Rule(
        frozenset({"tcp", "tls", "udp"}),
        frozenset({"family", "allow", "deny", "max_per_host", "host_prefix", "bind", "dscp", "ttl"}),
        "is for IP addresses, and unix: has none",
        "leave it out",
    ),
    Rule(
        frozenset({"tls"}),
        frozenset({"tls", "tls.cert", "tls.client_ca", "handshake_timeout"}),
        "is for tls://, and no address is",
        "write tls:// before the host or the port",
    ),
    Rule(frozenset({"udp"}), frozenset({"any_port"}), "is for udp://, and no address is", "leave it out"),
    Rule(
        frozenset({"udp"}),
        frozenset({"host_prefix"}),
        "is for limits per host, and there is none",
        "leave it out, or give max_per_host= as well",
        unless="max_per_host",
    ),
    Rule(frozenset({"unix"}), frozenset({"mode"}), "is for unix:, and no address is", "leave it out"),
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
