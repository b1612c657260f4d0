"""Answers a sender that is a multicast address."""

from tests._check.reference_udp import Server, main


class Mutant(Server):
    """Differs in one step."""

    def is_many(self, peer: tuple[str, int]) -> bool:
        """Suspect nobody."""
        del peer
        return False


if __name__ == "__main__":
    main(Mutant)
