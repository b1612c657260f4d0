"""Replies to datagrams sent to a broadcast address."""

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def ignores(self, datagram: Datagram) -> bool:
        """Check only the source address."""
        return self.is_loop(datagram) or datagram.peer[1] in self.services or self.is_group(datagram.peer)


if __name__ == "__main__":
    main(Mutant)
