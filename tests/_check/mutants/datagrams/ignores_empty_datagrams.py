"""Does not reply to empty datagrams."""

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def ignores(self, datagram: Datagram) -> bool:
        """Whether the datagram gets no reply."""
        return not datagram.data or super().ignores(datagram)


if __name__ == "__main__":
    main(Mutant)
