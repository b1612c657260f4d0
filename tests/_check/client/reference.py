"""A correct stream client, the reference of the cases: `python -m tests._check.client.reference HOST PORT [MESSAGE]`.

Uses the standard library only, nothing of halloo. It sends its standard input, prints the reply and compares both.
Each mutant overrides one step.
"""

import os
import socket
import sys
import threading
import time

BUFFER = 64 * 1024
TIMEOUT = 3.0  # seconds without progress


class ClientError(Exception):
    """An error of the exchange, as a sentence."""


class Client:
    """A client whose steps are methods, so that a mutant can override one of them."""

    def __init__(self, host: str, port: int, message: str | None = None) -> None:
        """Set the server's address and the message; None reads it from standard input."""
        self.host, self.port, self.message = host, port, message
        self.sent = bytearray()
        self.received = 0
        self.send_failed = False
        self.last_progress = 0.0

    def connect(self) -> socket.socket:
        sock = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        sock.settimeout(None)
        return sock

    def read(self) -> bytes:
        return sys.stdin.buffer.read() if self.message is None else self.message.encode()

    def start_sending(self, sock: socket.socket, data: bytes) -> None:
        threading.Thread(target=self.send_quietly, args=(sock, data), daemon=True).start()

    def send_quietly(self, sock: socket.socket, data: bytes) -> None:
        """Send the message and end of file; record an error."""
        try:
            self.send(sock, data)
            self.shutdown_write(sock)
        except OSError:
            self.send_failed = True

    def send(self, sock: socket.socket, data: bytes) -> None:
        for offset in range(0, len(data), BUFFER):
            sock.sendall(data[offset : offset + BUFFER])
            self.last_progress = time.monotonic()

    def shutdown_write(self, sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)

    def wait_readable(self, sock: socket.socket) -> None:
        while True:
            sock.settimeout(None)
            if self.readable(sock, self.last_progress + TIMEOUT - time.monotonic()):
                return
            if time.monotonic() >= self.last_progress + TIMEOUT:
                raise ClientError(f"no reply within {TIMEOUT:g} seconds")

    @staticmethod
    def readable(sock: socket.socket, seconds: float) -> bool:
        import select  # noqa: PLC0415 - most mutants override the wait

        return bool(select.select([sock], [], [], max(seconds, 0))[0])

    def receive(self, sock: socket.socket) -> None:
        while data := self.receive_chunk(sock):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.last_progress = time.monotonic()

    def receive_chunk(self, sock: socket.socket) -> bytes:
        """Receive a chunk; a reset after the whole reply counts as end of file."""
        self.wait_readable(sock)
        try:
            return sock.recv(BUFFER)
        except ConnectionError:
            if self.received < len(self.sent):
                raise
            return b""

    def show(self, data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise ClientError("standard output is closed") from error

    def compare(self, data: bytes) -> None:
        if data != self.sent[self.received : self.received + len(data)]:
            raise ClientError(f"the reply differs after {self.received} bytes")

    def check_complete(self) -> None:
        if self.send_failed and self.received < len(self.sent):
            raise ConnectionResetError("the connection was reset")
        if self.received < len(self.sent):
            raise ClientError(f"only {self.received} of {len(self.sent)} bytes received before end of file")

    def exchange(self) -> None:
        with self.connect() as sock:
            data = self.read()
            self.sent += data
            self.last_progress = time.monotonic()
            self.start_sending(sock, data)
            self.receive(sock)
            self.check_complete()

    def run(self) -> int:
        """Run the exchange and report an error; return the exit code."""
        try:
            self.exchange()
        except KeyboardInterrupt:
            return 130
        except (ClientError, OSError) as error:
            return self.report(error)
        return 0

    def report(self, error: Exception) -> int:
        """Print an error; return the exit code."""
        print(f"client: {error}", file=sys.stderr)
        return 1


def main(kind: type[Client]) -> None:
    """Run a client class with the command-line arguments; exit without joining its threads."""
    code = kind(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4]).run()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Client)
