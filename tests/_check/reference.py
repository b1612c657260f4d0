"""A correct single-threaded echo server, which passes all cases: `python -m tests._check.reference PORT`.

Uses only the standard library, not halloo. Mutants of event loops are changes of a line or two of it.
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
DRAIN_TIME, QUIET_TIME, LINGER_TIME = 10.0, 0.25, 1.0  # seconds


class EchoServer:
    """An event loop; it reads from a connection only while no bytes of it are pending."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener: socket.socket | None = listener
        self.waker, wakeup = socket.socketpair()
        self.poll = select.epoll()
        for sock in (listener, wakeup, self.waker):
            sock.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self.wakeup = wakeup
        self.socks: dict[int, socket.socket] = {}
        self.pending: dict[int, memoryview] = {}
        self.last_received: dict[int, float] = {}
        self.shutdown_at: dict[int, float] = {}
        self.poll.register(self.waker, select.EPOLLIN)
        self.poll.register(listener, select.EPOLLIN)
        self.paused = False

    def run_once(self, timeout: float | None) -> bool:
        """Handle the ready events once; return whether there was a signal."""
        signalled, resuming = False, self.paused
        for fd, _ in self.poll.poll(0.1 if resuming else timeout):
            if fd == self.waker.fileno():
                signalled = bool(self.waker.recv(64))
            elif self.listener and fd == self.listener.fileno():
                self.accept()
            elif fd in self.socks:
                self.last_received[fd] = time.monotonic()
                with suppress(BlockingIOError):
                    self.serve(fd)
        if resuming and self.listener:
            self.paused = False
            self.poll.register(self.listener, select.EPOLLIN)
        return signalled

    def accept(self) -> bool:
        """Accept a client; out of descriptors, pause accepting until the next turn."""
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
        self.last_received[sock.fileno()] = time.monotonic()
        self.poll.register(sock, select.EPOLLIN)
        return True

    def serve(self, fd: int) -> None:
        sock = self.socks[fd]
        try:
            data = self.pending.pop(fd, None) or memoryview(sock.recv(BUFFER))
            if not data:
                return self.close(fd)
            if fd in self.shutdown_at:
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
            self.pending[fd] = rest
        self.poll.modify(fd, select.EPOLLOUT if rest else select.EPOLLIN)
        return None

    def close(self, fd: int) -> None:
        self.pending.pop(fd, None)
        self.shutdown_at.pop(fd, None)
        self.poll.unregister(fd)
        self.socks.pop(fd).close()

    def drain(self) -> None:
        while self.accept():
            pass
        if self.listener:
            self.listener.close()
        self.listener, deadline = None, time.monotonic() + DRAIN_TIME
        while self.socks and time.monotonic() < deadline:
            self.run_once(0.02)
            now = time.monotonic()
            for fd, sock in list(self.socks.items()):
                if fd in self.shutdown_at:
                    if now - self.shutdown_at[fd] > LINGER_TIME:
                        self.close(fd)
                elif fd not in self.pending and now - self.last_received[fd] > QUIET_TIME and not in_flight(sock):
                    self.shutdown_at[fd] = now
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_WR)


def in_flight(sock: socket.socket) -> int:
    counts = [array.array("i", [0]) for _ in range(2)]
    for request, count in zip((termios.FIONREAD, termios.TIOCOUTQ), counts, strict=True):
        fcntl.ioctl(sock, request, count)
    return sum(count[0] for count in counts)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    except OSError as error:
        sys.exit(f"reference: {error}")
    echo = EchoServer(listener)
    while not echo.run_once(None):
        pass
    echo.drain()


if __name__ == "__main__":
    main()
