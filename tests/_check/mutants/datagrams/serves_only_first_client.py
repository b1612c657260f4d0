"""Serves only its first client."""

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    client: tuple[str, int] | None = None

    def ignores(self, datagram: Datagram) -> bool:
        """Whether the datagram is from another client."""
        if super().ignores(datagram):
            return True
        self.client = self.client or datagram.peer
        return datagram.peer != self.client


if __name__ == "__main__":
    main(Mutant)
