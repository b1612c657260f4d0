"""Replies to the ports of services that answer any datagram."""

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    services = frozenset({0})


if __name__ == "__main__":
    main(Mutant)
