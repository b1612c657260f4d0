"""A right client of streams, the measure of the cases: `python -m tests._check.client.reference HOST PORT [MESSAGE]`.

Knows the standard library alone, and nothing of halloo. It is a filter that compares: what is piped in is sent, what
comes back is printed. Mutants differ from it in one step, and override that one.
"""

import os
import socket
import sys
import threading
import time

BUFFER = 64 * 1024
PATIENCE = 3.0  # seconds without progress


class Trouble(Exception):  # noqa: N818 - it is what happened, as a sentence
    """Why it is not done."""


class Client:
    """Steps of a client, each a method, so that a mutant can take one of them wrong."""

    def __init__(self, host: str, port: int, message: str | None = None) -> None:
        """Note where to, and what if it is not piped in."""
        self.host, self.port, self.message = host, port, message
        self.sent = bytearray()
        self.received = 0
        self.broken = False
        self.moved = 0.0

    def connect(self) -> socket.socket:
        """Connect to the first address that answers."""
        sock = socket.create_connection((self.host, self.port), timeout=PATIENCE)
        sock.settimeout(None)
        return sock

    def read(self) -> bytes:
        """Give the input."""
        return sys.stdin.buffer.read() if self.message is None else self.message.encode()

    def begin(self, sock: socket.socket, data: bytes) -> None:
        """Send beside the receiving."""
        threading.Thread(target=self.send_quietly, args=(sock, data), daemon=True).start()

    def send_quietly(self, sock: socket.socket, data: bytes) -> None:
        """Send, and note what goes wrong."""
        try:
            self.send(sock, data)
            self.finish(sock)
        except OSError:
            self.broken = True

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send all of it."""
        for place in range(0, len(data), BUFFER):
            sock.sendall(data[place : place + BUFFER])
            self.moved = time.monotonic()

    def finish(self, sock: socket.socket) -> None:
        """Say that this was all."""
        sock.shutdown(socket.SHUT_WR)

    def wait(self, sock: socket.socket) -> None:
        """Wait for something to receive, while there is progress."""
        while True:
            sock.settimeout(None)
            if self.readable(sock, self.moved + PATIENCE - time.monotonic()):
                return
            if time.monotonic() >= self.moved + PATIENCE:
                raise Trouble(f"no answer within {PATIENCE:g} seconds")

    @staticmethod
    def readable(sock: socket.socket, seconds: float) -> bool:
        """Wait so long for something to receive."""
        import select  # noqa: PLC0415 - most mutants have their own idea of waiting

        return bool(select.select([sock], [], [], max(seconds, 0))[0])

    def receive(self, sock: socket.socket) -> None:
        """Show what comes, until the end."""
        while data := self.take(sock):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.moved = time.monotonic()

    def take(self, sock: socket.socket) -> bytes:
        """Receive a piece; a reset after the whole answer is an end."""
        self.wait(sock)
        try:
            return sock.recv(BUFFER)
        except ConnectionError:
            if self.received < len(self.sent):
                raise
            return b""

    def show(self, data: bytes) -> None:
        """Print a piece as it is."""
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise Trouble("nobody reads what is printed") from error

    def compare(self, data: bytes) -> None:
        """See that it is what was sent."""
        if data != self.sent[self.received : self.received + len(data)]:
            raise Trouble(f"the answer differs after {self.received} bytes")

    def judge(self) -> None:
        """See that all of it came."""
        if self.broken and self.received < len(self.sent):
            raise ConnectionResetError("the connection broke off")
        if self.received < len(self.sent):
            raise Trouble(f"only {self.received} of {len(self.sent)} bytes came back, then the end")

    def talk(self) -> None:
        """Do all of it."""
        with self.connect() as sock:
            data = self.read()
            self.sent += data
            self.moved = time.monotonic()
            self.begin(sock, data)
            self.receive(sock)
            self.judge()

    def run(self) -> int:
        """Do it, and say what happened if that was not all; give the exit code."""
        try:
            self.talk()
        except KeyboardInterrupt:
            return 130
        except (Trouble, OSError) as error:
            return self.complain(error)
        return 0

    def complain(self, error: Exception) -> int:
        """Say what happened; give the exit code."""
        print(f"client: {error}", file=sys.stderr)
        return 1


def main(kind: type[Client]) -> None:
    """Be a client of this kind; end at once, whatever its threads do."""
    code = kind(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4]).run()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Client)
