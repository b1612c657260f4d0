"""Sends to one client until that has taken everything, and all others wait."""

from tests._check.reference import BUFFER, Echo, main


class Mutant(Echo):
    """Differs in one step."""

    def serve(self, fd: int) -> None:
        """Echo what has come, to the last byte."""
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
