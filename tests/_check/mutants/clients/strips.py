"""Strips the input before sending it."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def read(self) -> bytes:
        """Return the input without blanks at both ends."""
        return super().read().strip()


if __name__ == "__main__":
    main(Mutant)
