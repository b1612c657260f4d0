"""Reads lines and ends each with a newline, also the last."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """The reference client with one step changed."""

    def read(self) -> bytes:
        """Read the input as lines, each ended by a newline."""
        return b"".join(line.removesuffix(b"\n") + b"\n" for line in super().read().splitlines(keepends=True))


if __name__ == "__main__":
    main(Mutant)
