"""Receives the answer, and keeps it to itself."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def show(self, data: bytes) -> None:
        """Print nothing."""


if __name__ == "__main__":
    main(Mutant)
