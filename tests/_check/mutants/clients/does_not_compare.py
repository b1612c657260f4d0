"""Prints what comes, and does not look at it."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def compare(self, data: bytes) -> None:
        """Look away."""


if __name__ == "__main__":
    main(Mutant)
