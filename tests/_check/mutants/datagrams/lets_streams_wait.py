"""Serves streams when no datagram comes, in the same loop."""

import select
import socket

from tests._check.reference_udp import BUFFER, Server, main


class Mutant(Server):
    """Differs in one step."""

    def serve(self) -> None:
        """Answer datagrams while they come, then streams once."""
        conns: list[socket.socket] = []
        while True:
            while heard := select.select(self.socks, [], [], 0.02)[0]:
                for sock in heard:
                    self.step(sock)
            for ready in select.select([self.streams, *conns], [], [], 0)[0]:
                if ready is self.streams:
                    conns.append(ready.accept()[0])
                elif data := ready.recv(BUFFER):
                    ready.sendall(data)
                else:
                    conns.remove(ready)


if __name__ == "__main__":
    main(Mutant)
