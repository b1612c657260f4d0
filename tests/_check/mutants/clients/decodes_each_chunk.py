"""Decodes each chunk separately, although a character may be split."""

import sys

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def show(self, data: bytes) -> None:
        """Print a chunk as text."""
        sys.stdout.write(data.decode())
        sys.stdout.flush()


if __name__ == "__main__":
    main(Mutant)
