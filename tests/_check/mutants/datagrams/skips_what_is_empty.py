"""Takes a datagram of no bytes for nothing, and does not answer it."""

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def refuses(self, letter: Letter) -> bool:
        """Say whether nothing must be answered."""
        return not letter.data or super().refuses(letter)


if __name__ == "__main__":
    main(Mutant)
