"""Exits with code 0 when the port is unreachable."""

from tests._check.client.reference_udp import UdpEchoClient, main


class Mutant(UdpEchoClient):
    """The reference client with one step changed."""

    def report(self, error: Exception) -> int:
        """Report the error; return 0 if the port is unreachable."""
        code = super().report(error)
        return 0 if isinstance(error, ConnectionRefusedError) else code


if __name__ == "__main__":
    main(Mutant)
