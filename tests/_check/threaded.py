"""A correct echo server with a thread for each client: `python -m tests._check.threaded PORT`.

Uses only the standard library, not halloo. Most mutants of servers are changes of a line or two of it.
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


class Stop(Exception):  # noqa: N818 - not an error
    """SIGINT or SIGTERM was received."""


class Server:
    """Accepts clients, and gives each a thread."""

    def __init__(self, port: int) -> None:
        self.last_received: dict[socket.socket, float] = {}
        self.never_set = threading.Event()  # waiting for it is a sleep
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)

    def serve(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:  # out of descriptors, or the client has closed already
                self.never_set.wait(0.1)
            else:
                self.last_received[conn] = time.monotonic()
                threading.Thread(target=self.handle, args=(conn,), daemon=True).start()

    def handle(self, conn: socket.socket) -> None:
        try:
            with conn, suppress(OSError):
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := conn.recv(BUFFER):
                    self.last_received[conn] = time.monotonic()
                    conn.sendall(data)
        finally:
            self.last_received.pop(conn, None)

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


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        echo = Server(int(sys.argv[1]))
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
