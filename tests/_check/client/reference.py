"""A correct stream client, the reference of the cases: `python -m tests._check.client.reference HOST PORT [MESSAGE]`.

Uses the standard library only, nothing of halloo. It sends its standard input, prints the reply and compares both.
Mutants are changes of a line or two of it.
"""

import os
import select
import socket
import sys
import threading
import time

BUFFER = 64 * 1024
TIMEOUT = 3.0  # seconds without progress


class ClientError(Exception):
    """An error of the exchange, as a sentence."""


class Client:
    """Sends in one thread, and receives in the other."""

    def __init__(self, host: str, port: int, message: str | None = None) -> None:
        """Set the server's address and the message; None reads it from standard input."""
        self.host, self.port, self.message = host, port, message
        self.sent = b""
        self.received = 0
        self.send_failed = False
        self.last_progress = 0.0

    def exchange(self) -> None:
        with socket.create_connection((self.host, self.port), timeout=TIMEOUT) as sock:
            sock.settimeout(None)
            self.sent = sys.stdin.buffer.read() if self.message is None else self.message.encode()
            self.last_progress = time.monotonic()
            threading.Thread(target=self.send, args=(sock,), daemon=True).start()
            while data := self.receive(sock):
                self.show(data)
                if data != self.sent[self.received : self.received + len(data)]:
                    raise ClientError(f"the reply differs after {self.received} bytes")
                self.received += len(data)
                self.last_progress = time.monotonic()
            if self.received < len(self.sent):
                if self.send_failed:
                    raise ConnectionResetError("the connection was reset")
                raise ClientError(f"only {self.received} of {len(self.sent)} bytes received before end of file")

    def send(self, sock: socket.socket) -> None:
        """Send the message and end of file; record an error."""
        try:
            for offset in range(0, len(self.sent), BUFFER):
                sock.sendall(self.sent[offset : offset + BUFFER])
                self.last_progress = time.monotonic()
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.send_failed = True

    def receive(self, sock: socket.socket) -> bytes:
        """Receive a chunk; a reset after the whole reply counts as end of file."""
        while not select.select([sock], [], [], max(self.last_progress + TIMEOUT - time.monotonic(), 0))[0]:
            if time.monotonic() >= self.last_progress + TIMEOUT:
                raise ClientError(f"no reply within {TIMEOUT:g} seconds")
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

    def run(self) -> int:
        """Run the exchange and report an error; return the exit code."""
        try:
            self.exchange()
        except KeyboardInterrupt:
            return 130
        except (ClientError, OSError) as error:
            print(f"client: {error}", file=sys.stderr)
            return 1
        return 0


if __name__ == "__main__":
    code = Client(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4]).run()
    sys.stderr.flush()
    os._exit(code)  # without joining the thread
