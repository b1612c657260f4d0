"""Receives the reply but does not print it."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def show(self, data: bytes) -> None:
        """Print nothing."""


if __name__ == "__main__":
    main(Mutant)
