"""Says that it waits, and waits for ever."""

import sys

from tests._check.client.reference_udp import Asker, main


class Mutant(Asker):
    """Differs in one step."""

    patience = None

    def send(self, line: bytes) -> None:
        """Send a datagram, and say so."""
        super().send(line)
        sys.stdout.write("sent; waiting for the answer\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Mutant)
