"""Reads its input as text."""

import sys

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def read(self) -> bytes:
        """Give the input, which had better be text."""
        return sys.stdin.buffer.read().decode().encode()


if __name__ == "__main__":
    main(Mutant)
