"""A right echo server of one thread, the measure of the cases: `python -m tests._check.reference PORT`.

Knows the standard library alone, and nothing of halloo. Mutants of event loops differ from it in one step each.
"""

import array
import fcntl
import select
import signal
import socket
import sys
import termios
import time
from contextlib import suppress

BUFFER = 64 * 1024
DRAIN, QUIET, GOODBYE = 10.0, 0.25, 1.0  # seconds


class Echo:
    """All connections, in one poll: each is read from only while nothing of it is unsent."""

    def __init__(self, listener: socket.socket) -> None:
        """Serve a listener, and be told of signals."""
        self.listener: socket.socket | None = listener
        self.waker, wakeup = socket.socketpair()
        self.poll = select.epoll()
        for sock in (listener, wakeup, self.waker):
            sock.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self.wakeup = wakeup
        self.socks: dict[int, socket.socket] = {}
        self.debts: dict[int, memoryview] = {}
        self.heard: dict[int, float] = {}
        self.left: dict[int, float] = {}
        self.poll.register(self.waker, select.EPOLLIN)
        self.poll.register(listener, select.EPOLLIN)
        self.paused = False

    def turn(self, timeout: float | None) -> bool:
        """Do once what is ready; True at a signal."""
        signalled, resuming = False, self.paused
        for fd, _ in self.poll.poll(0.1 if resuming else timeout):
            if fd == self.waker.fileno():
                signalled = bool(self.waker.recv(64))
            elif self.listener and fd == self.listener.fileno():
                self.accept()
            elif fd in self.socks:
                self.heard[fd] = time.monotonic()
                with suppress(BlockingIOError):
                    self.serve(fd)
        if resuming and self.listener:
            self.paused = False
            self.poll.register(self.listener, select.EPOLLIN)
        return signalled

    def accept(self) -> bool:
        """Take a client in; without descriptors, none for a moment."""
        if not self.listener:
            return False
        try:
            sock, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return False
        except OSError:
            self.paused = True
            self.poll.unregister(self.listener)
            return False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socks[sock.fileno()] = sock
        self.heard[sock.fileno()] = time.monotonic()
        self.poll.register(sock, select.EPOLLIN)
        return True

    def serve(self, fd: int) -> None:
        """Send what is owed, or echo what has come."""
        sock = self.socks[fd]
        try:
            data = self.debts.pop(fd, None) or memoryview(self.hear(sock))
            if not data:
                return self.close(fd)
            if fd in self.left:
                return None
            try:
                rest = data[sock.send(data) :]
            except BlockingIOError:
                rest = data
        except BlockingIOError:
            return None
        except OSError:
            return self.close(fd)
        if rest:
            self.debts[fd] = rest
        self.poll.modify(fd, select.EPOLLOUT if rest else select.EPOLLIN)
        return None

    def hear(self, sock: socket.socket) -> bytes:
        """Receive what has come; empty at the client's end."""
        return sock.recv(BUFFER)

    def close(self, fd: int) -> None:
        """Forget a connection."""
        self.debts.pop(fd, None)
        self.left.pop(fd, None)
        self.poll.unregister(fd)
        self.socks.pop(fd).close()

    def drain(self) -> None:
        """Take in who waits, finish what is owed, and say goodbye."""
        while self.accept():
            pass
        if self.listener:
            self.listener.close()
        self.listener, deadline = None, time.monotonic() + DRAIN
        while self.socks and time.monotonic() < deadline:
            self.turn(0.02)
            now = time.monotonic()
            for fd, sock in list(self.socks.items()):
                if fd in self.left:
                    if now - self.left[fd] > GOODBYE:
                        self.close(fd)
                elif fd not in self.debts and now - self.heard[fd] > QUIET and not in_flight(sock):
                    self.left[fd] = now
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_WR)


def in_flight(sock: socket.socket) -> int:
    """Count the bytes not read yet, or not confirmed yet."""
    counts = [array.array("i", [0]) for _ in range(2)]
    for request, count in zip((termios.FIONREAD, termios.TIOCOUTQ), counts, strict=True):
        fcntl.ioctl(sock, request, count)
    return sum(count[0] for count in counts)


def main(server: type[Echo] = Echo) -> None:
    """Serve the port of the command line on 127.0.0.1, until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    except OSError as error:
        sys.exit(f"reference: {error}")
    echo = server(listener)
    while not echo.turn(None):
        pass
    echo.drain()


if __name__ == "__main__":
    main()
