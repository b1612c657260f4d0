"""Decodes each piece for itself: a letter may be cut in two."""

import sys

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def show(self, data: bytes) -> None:
        """Print a piece as text."""
        sys.stdout.write(data.decode())
        sys.stdout.flush()


if __name__ == "__main__":
    main(Mutant)
