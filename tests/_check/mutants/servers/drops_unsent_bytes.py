"""Ignores the result of a non-blocking send(): bytes that do not fit into the buffer are lost."""

from contextlib import suppress

from tests._check.reference import EchoServer, main


class Mutant(EchoServer):
    """Overrides one step of the reference."""

    def serve(self, fd: int) -> None:
        """Echo the received bytes as far as the socket accepts them."""
        sock = self.socks[fd]
        try:
            if data := self.receive(sock):
                with suppress(BlockingIOError):
                    sock.send(data)
            else:
                self.close(fd)
        except BlockingIOError:
            return
        except OSError:
            self.close(fd)


if __name__ == "__main__":
    main(Mutant)
