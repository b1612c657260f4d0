"""Serves TCP clients only while no datagrams arrive, in the same loop."""

import select
import socket

from tests._check.reference_udp import BUFFER, Server, main


class Mutant(Server):
    """Overrides one step of the reference."""

    def serve(self) -> None:
        """Reply to datagrams while there are any, then serve each TCP client once."""
        conns: list[socket.socket] = []
        while True:
            while readable := select.select(self.socks, [], [], 0.02)[0]:
                for sock in readable:
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
