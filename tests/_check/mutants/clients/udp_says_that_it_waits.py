"""Prints that it waits, and waits forever."""

import sys

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    timeout = None

    def send(self, line: bytes) -> None:
        """Send a datagram and print a message."""
        super().send(line)
        sys.stdout.write("sent; waiting for the answer\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Mutant)
