"""Replies to its own replies, and to those of its copies."""

from tests._check.reference_udp import Datagram, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def is_loop(self, datagram: Datagram) -> bool:
        """Detect no loops."""
        del datagram
        return False


if __name__ == "__main__":
    main(Mutant)
