"""A correct UDP client, one datagram per input line: `python -m tests._check.client.reference_udp HOST PORT`.

Uses the standard library only, nothing of halloo. Mutants are changes of a line or two of it.
"""

import socket
import sys
import time

RECEIVE_SIZE = 65536
TIMEOUT, TRIES = 1.0, 2  # seconds per reply, and number of attempts


class ClientError(Exception):
    """An error of the exchange, as a sentence."""


class UdpEchoClient:
    """A socket that receives only from the server."""

    def __init__(self, host: str, port: int) -> None:
        family, *_, server = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.server = server
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.server)
        self.earlier: set[bytes] = set()

    def receive(self) -> bytes:
        deadline = time.monotonic() + TIMEOUT
        while True:
            data = self.sock.recv(RECEIVE_SIZE)
            if data not in self.earlier:
                return data
            if time.monotonic() >= deadline:
                raise TimeoutError

    def ask(self, line: bytes) -> None:
        for _ in range(TRIES):
            self.sock.send(line)
            try:
                data = self.receive()
            except TimeoutError:
                continue
            sys.stdout.buffer.write(data + b"\n")
            sys.stdout.buffer.flush()
            self.earlier.add(data)
            return
        raise ClientError(f"no reply to {line!r}")

    def run(self) -> int:
        """Send each line; return the exit code."""
        try:
            for line in sys.stdin.buffer:
                self.ask(line.rstrip(b"\n"))
        except (ClientError, OSError) as error:
            print(f"client: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        return 0


if __name__ == "__main__":
    sys.exit(UdpEchoClient(sys.argv[1], int(sys.argv[2])).run())
