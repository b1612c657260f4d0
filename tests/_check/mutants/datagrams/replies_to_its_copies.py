"""Ignores its own port, but no other echo server."""

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def is_loop(self, datagram: Datagram) -> bool:
        """Check only its own port."""
        return datagram.peer[1] == self.port


if __name__ == "__main__":
    main(Mutant)
