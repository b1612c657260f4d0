"""Answers its own answers, and those of its copies."""

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def is_loop(self, letter: Letter) -> bool:
        """Suspect nobody."""
        del letter
        return False


if __name__ == "__main__":
    main(Mutant)
