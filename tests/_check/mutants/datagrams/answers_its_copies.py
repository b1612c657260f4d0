"""Knows its own port, and no other echo server."""

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def is_loop(self, letter: Letter) -> bool:
        """Suspect itself."""
        return letter.peer[1] == self.port


if __name__ == "__main__":
    main(Mutant)
