"""Waits for a reply without a limit."""

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    timeout = None


if __name__ == "__main__":
    main(Mutant)
