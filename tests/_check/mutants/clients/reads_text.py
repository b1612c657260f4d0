"""Reads its input as text."""

import sys

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def read(self) -> bytes:
        """Decode the input as UTF-8."""
        return sys.stdin.buffer.read().decode().encode()


if __name__ == "__main__":
    main(Mutant)
