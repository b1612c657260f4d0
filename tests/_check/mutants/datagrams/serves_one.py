"""Serves its first client, and nobody else."""

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    client: tuple[str, int] | None = None

    def refuses(self, letter: Letter) -> bool:
        """Say whether it comes from another client."""
        if super().refuses(letter):
            return True
        self.client = self.client or letter.peer
        return letter.peer != self.client


if __name__ == "__main__":
    main(Mutant)
