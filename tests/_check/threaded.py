"""A correct echo server with a thread for each client: `python -m tests._check.threaded PORT`.

Uses only the standard library, not halloo. Most mutants override one step of it.
"""

import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from tests._check.reference import in_flight

BUFFER = 64 * 1024
DRAIN_TIME, QUIET_TIME, LINGER_TIME = 10.0, 0.25, 0.5  # seconds
HOST = "127.0.0.1"


class Stop(Exception):  # noqa: N818 - not an error
    """SIGINT or SIGTERM was received."""


class Server:
    """A server with a method for each step, so that a mutant can override one."""

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, port: int) -> None:
        self.last_received: dict[socket.socket, float] = {}
        self.never_set = threading.Event()  # waiting for it is a sleep
        self.listener = self.listen(port)

    def listen(self, port: int) -> socket.socket:
        """Bind the port, even with connections in TIME-WAIT."""
        return socket.create_server((HOST, port), backlog=4096)

    def serve(self) -> None:
        while True:
            try:
                conn = self.accept()
            except OSError:  # out of descriptors, or the client has closed already
                self.never_set.wait(0.1)
            else:
                self.start_client(conn)

    def accept(self) -> socket.socket:
        return self.listener.accept()[0]

    def start_client(self, conn: socket.socket) -> None:
        self.last_received[conn] = time.monotonic()
        threading.Thread(target=self.handle, args=(conn,), daemon=True).start()

    def handle(self, conn: socket.socket) -> None:
        try:
            with conn, suppress(OSError):
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve_client(conn)
        finally:
            self.last_received.pop(conn, None)

    def serve_client(self, conn: socket.socket) -> None:
        while data := self.receive(conn):
            self.reply(conn, data)

    def receive(self, conn: socket.socket) -> bytes:
        """Receive what is available; empty at the end of the stream."""
        data = conn.recv(BUFFER)
        self.last_received[conn] = time.monotonic()
        return data

    def reply(self, conn: socket.socket, data: bytes) -> None:
        conn.sendall(data)

    def drain(self) -> None:
        self.listener.close()
        deadline = time.monotonic() + DRAIN_TIME
        while self.last_received and time.monotonic() < deadline:
            self.never_set.wait(0.02)
            for conn, received_at in list(self.last_received.items()):
                silent = time.monotonic() - received_at
                with suppress(OSError, ValueError):  # its thread may have closed it
                    if silent < QUIET_TIME or in_flight(conn):
                        continue
                    if silent < QUIET_TIME + LINGER_TIME:
                        conn.shutdown(socket.SHUT_WR)
                    else:
                        del self.last_received[conn]


def main(server: type[Server] = Server) -> None:
    for number in server.signals:
        signal.signal(number, stop)
    try:
        echo = server(int(sys.argv[1]))
    except OSError as error:
        sys.exit(f"no port: {error}")
    try:
        echo.serve()
    except Stop:
        echo.drain()


def stop(*_: object) -> None:
    raise Stop


if __name__ == "__main__":
    main()
