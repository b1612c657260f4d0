"""A right client of datagrams, one for each line piped in: `python -m tests._check.client.reference_udp HOST PORT`.

Knows the standard library alone, and nothing of halloo. Mutants differ from it in one step, and override that one.
"""

import socket
import sys
import time

WHOLE = 65536
PATIENCE, TRIES = 1.0, 2  # seconds for an answer, and how often it is asked for


class Trouble(Exception):  # noqa: N818 - it is what happened, as a sentence
    """Why it is not done."""


class Asker:
    """Steps of a client, each a method, so that a mutant can take one of them wrong."""

    patience: float | None = PATIENCE
    room = WHOLE

    def __init__(self, host: str, port: int) -> None:
        """Find the server's address."""
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.server = address
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(self.patience)
        self.open()
        self.earlier: set[bytes] = set()

    def open(self) -> None:
        """Connect, so that errors are told and strangers are not heard."""
        self.sock.connect(self.server)

    def send(self, line: bytes) -> None:
        """Send a datagram."""
        self.sock.send(line)

    def receive(self) -> bytes:
        """Receive one that may be the answer."""
        deadline = time.monotonic() + PATIENCE
        while True:
            data = self.sock.recv(self.room)
            if not self.is_copy(data):
                return data
            if time.monotonic() >= deadline:
                raise TimeoutError

    def is_copy(self, data: bytes) -> bool:
        """Whether it has answered an earlier question."""
        return data in self.earlier

    def show(self, data: bytes) -> None:
        """Print an answer."""
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()

    def ask(self, line: bytes) -> None:
        """Ask, and ask again, for an answer."""
        for _ in range(TRIES):
            self.send(line)
            try:
                data = self.receive()
            except TimeoutError:
                continue
            self.show(data)
            self.earlier.add(data)
            return
        self.lost(line)

    def lost(self, line: bytes) -> None:
        """Say that no answer came."""
        raise Trouble(f"no answer to {line!r}")

    def run(self) -> int:
        """Ask for each line; give the exit code."""
        try:
            for line in sys.stdin.buffer:
                self.ask(line.rstrip(b"\n"))
        except (Trouble, OSError) as error:
            return self.complain(error)
        except KeyboardInterrupt:
            return 130
        return 0

    def complain(self, error: Exception) -> int:
        """Say what happened; give the exit code."""
        print(f"client: {error}", file=sys.stderr)
        return 1


def main(kind: type[Asker]) -> None:
    """Be a client of this kind."""
    sys.exit(kind(sys.argv[1], int(sys.argv[2])).run())


if __name__ == "__main__":
    main(Asker)
