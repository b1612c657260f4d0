"""Reads lines, and ends each with a newline, the last one too."""

from tests._check.client.reference import Client, main


class Mutant(Client):
    """Differs in one step."""

    def read(self) -> bytes:
        """Give the input line by line."""
        return b"".join(line.removesuffix(b"\n") + b"\n" for line in super().read().splitlines(keepends=True))


if __name__ == "__main__":
    main(Mutant)
