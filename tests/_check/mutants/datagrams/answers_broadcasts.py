"""Answers what was sent to everybody, as everybody does."""

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def refuses(self, letter: Letter) -> bool:
        """Look at the sender alone."""
        return self.is_loop(letter) or letter.peer[1] in self.services or self.is_many(letter.peer)


if __name__ == "__main__":
    main(Mutant)
