"""Accepts any reply as the one to its last message."""

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    def is_copy(self, data: bytes) -> bool:
        """Return False always."""
        return not isinstance(data, bytes)


if __name__ == "__main__":
    main(Mutant)
