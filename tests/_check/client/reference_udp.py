"""A correct UDP client, one datagram per input line: `python -m tests._check.client.reference_udp HOST PORT`.

Uses the standard library only, nothing of halloo. Each mutant overrides one step.
"""

import socket
import sys
import time

RECEIVE_SIZE = 65536
TIMEOUT, TRIES = 1.0, 2  # seconds per reply, and number of attempts


class ClientError(Exception):
    """An error of the exchange, as a sentence."""


class UdpEchoClient:
    """A client whose steps are methods, so that a mutant can override one of them."""

    timeout: float | None = TIMEOUT
    receive_size = RECEIVE_SIZE

    def __init__(self, host: str, port: int) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.server = address
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(self.timeout)
        self.open()
        self.earlier: set[bytes] = set()

    def open(self) -> None:
        self.sock.connect(self.server)

    def send(self, line: bytes) -> None:
        self.sock.send(line)

    def receive(self) -> bytes:
        deadline = time.monotonic() + TIMEOUT
        while True:
            data = self.sock.recv(self.receive_size)
            if not self.is_copy(data):
                return data
            if time.monotonic() >= deadline:
                raise TimeoutError

    def is_copy(self, data: bytes) -> bool:
        return data in self.earlier

    def show(self, data: bytes) -> None:
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()

    def ask(self, line: bytes) -> None:
        for _ in range(TRIES):
            self.send(line)
            try:
                data = self.receive()
            except TimeoutError:
                continue
            self.show(data)
            self.earlier.add(data)
            return
        self.give_up(line)

    def give_up(self, line: bytes) -> None:
        raise ClientError(f"no reply to {line!r}")

    def run(self) -> int:
        """Send each line; return the exit code."""
        try:
            for line in sys.stdin.buffer:
                self.ask(line.rstrip(b"\n"))
        except (ClientError, OSError) as error:
            return self.report(error)
        except KeyboardInterrupt:
            return 130
        return 0

    def report(self, error: Exception) -> int:
        """Print an error; return the exit code."""
        print(f"client: {error}", file=sys.stderr)
        return 1


def main(kind: type[UdpEchoClient]) -> None:
    sys.exit(kind(sys.argv[1], int(sys.argv[2])).run())


if __name__ == "__main__":
    main(UdpEchoClient)
