"""Prints the reply without comparing it."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def compare(self, data: bytes) -> None:
        """Do nothing."""


if __name__ == "__main__":
    main(Mutant)
