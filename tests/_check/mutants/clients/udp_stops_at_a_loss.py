"""Ends when a ping is not answered."""

import sys

from tests._check.client.pinger import Pinger, main


class Mutant(Pinger):
    """Differs in one step."""

    def lost(self) -> None:
        """Give up."""
        sys.exit("Request timed out")


if __name__ == "__main__":
    main(Mutant)
