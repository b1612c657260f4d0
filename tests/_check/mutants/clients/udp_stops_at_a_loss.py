"""Exits when a ping gets no reply."""

import sys

from tests._check.client.pinger import Pinger, main


class Mutant(Pinger):
    """The reference client with one step changed."""

    def lost(self) -> None:
        """Exit."""
        sys.exit("Request timed out")


if __name__ == "__main__":
    main(Mutant)
