"""A right echo server with a thread for each client: `python -m tests._check.threaded PORT`.

Knows the standard library alone, and nothing of halloo. Most mutants differ from it in one step, and override that one.
"""

import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from tests._check.reference import in_flight

BUFFER = 64 * 1024
DRAIN, QUIET, GOODBYE = 10.0, 0.25, 0.5  # seconds
HOST = "127.0.0.1"


class Stop(Exception):  # noqa: N818 - it is asked for
    """SIGINT or SIGTERM came."""


class Server:
    """Steps of a server, each a method, so that a mutant can take one of them wrong."""

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, port: int) -> None:
        """Listen."""
        self.heard: dict[socket.socket, float] = {}
        self.moment = threading.Event()  # never set: to wait for it is to let time pass
        self.listener = self.listen(port)

    def listen(self, port: int) -> socket.socket:
        """Take the port, even if connections of a former server rest there."""
        return socket.create_server((HOST, port), backlog=4096)

    def serve(self) -> None:
        """Take in clients until a signal comes."""
        while True:
            try:
                conn = self.accept()
            except OSError:  # out of descriptors, or a client that has gone already
                self.moment.wait(0.1)
            else:
                self.welcome(conn)

    def accept(self) -> socket.socket:
        """Take in one client."""
        return self.listener.accept()[0]

    def welcome(self, conn: socket.socket) -> None:
        """Begin to serve a client."""
        self.heard[conn] = time.monotonic()
        threading.Thread(target=self.handle, args=(conn,), daemon=True).start()

    def handle(self, conn: socket.socket) -> None:
        """Serve a client to the end, or until it breaks."""
        try:
            with conn, suppress(OSError):
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.talk(conn)
        finally:
            self.heard.pop(conn, None)

    def talk(self, conn: socket.socket) -> None:
        """Send back what comes."""
        while data := self.hear(conn):
            self.answer(conn, data)

    def hear(self, conn: socket.socket) -> bytes:
        """Receive what has come; empty at the client's end."""
        data = conn.recv(BUFFER)
        self.heard[conn] = time.monotonic()
        return data

    def answer(self, conn: socket.socket, data: bytes) -> None:
        """Send all of it."""
        conn.sendall(data)

    def drain(self) -> None:
        """Take in nobody any more, let everybody finish, and say goodbye to those who say nothing."""
        self.listener.close()
        deadline = time.monotonic() + DRAIN
        while self.heard and time.monotonic() < deadline:
            self.moment.wait(0.02)
            for conn, heard in list(self.heard.items()):
                silent = time.monotonic() - heard
                with suppress(OSError, ValueError):  # its thread may just have closed it
                    if silent < QUIET or in_flight(conn):
                        continue
                    if silent < QUIET + GOODBYE:
                        conn.shutdown(socket.SHUT_WR)
                    else:
                        del self.heard[conn]


def main(server: type[Server] = Server) -> None:
    """Serve the port of the command line on 127.0.0.1, until SIGINT or SIGTERM."""
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
    """Leave what the main thread is doing."""
    raise Stop


if __name__ == "__main__":
    main()
