"""Replies to a multicast source address."""

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def is_group(self, peer: tuple[str, int]) -> bool:
        """Treat every address as a single host."""
        del peer
        return False


if __name__ == "__main__":
    main(Mutant)
