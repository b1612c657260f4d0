"""Blocks until one client has received everything, while all others wait."""

from tests._check.reference import BUFFER, EchoServer, main


class Mutant(EchoServer):
    """Overrides one step of the reference."""

    def serve(self, fd: int) -> None:
        """Echo all the received bytes, blocking."""
        sock = self.socks[fd]
        try:
            data = sock.recv(BUFFER)
            sock.setblocking(True)
            sock.sendall(data)
            sock.setblocking(False)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(fd)


if __name__ == "__main__":
    main(Mutant)
