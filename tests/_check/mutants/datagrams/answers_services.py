"""Answers the ports of services that answer whatever comes."""

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Differs in one step."""

    services = frozenset({0})


if __name__ == "__main__":
    main(Mutant)
