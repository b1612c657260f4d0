"""Takes for granted that send() sends everything, of sockets that do not block: what does not fit is lost."""

from contextlib import suppress

from tests._check.reference import Echo, main


class Mutant(Echo):
    """Differs in one step."""

    def serve(self, fd: int) -> None:
        """Echo what has come, as far as it goes."""
        sock = self.socks[fd]
        try:
            if data := self.hear(sock):
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
