"""Has room for 8 KiB, which is enough until somebody sends more."""

import socket

from tests._check.reference_udp import Letter, Server, main


class Mutant(Server):
    """Differs in one step."""

    def hear(self, sock: socket.socket) -> Letter:
        """Receive a datagram, or the beginning of one."""
        data, notes, _, peer = sock.recvmsg(8192, 256)
        return Letter(data, peer, notes)


if __name__ == "__main__":
    main(Mutant)
