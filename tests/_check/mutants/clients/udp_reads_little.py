"""Receives 1024 bytes and does not detect truncation."""

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    receive_size = 1024


if __name__ == "__main__":
    main(Mutant)
