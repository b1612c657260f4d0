"""Strips the input before it sends it."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def read(self) -> bytes:
        """Give the input without the blanks around it."""
        return super().read().strip()


if __name__ == "__main__":
    main(Mutant)
