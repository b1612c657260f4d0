"""Say which descriptors are ready, and read, write and close them: on Linux by number, elsewhere by socket object.

Knows what the system offers. Knows nothing of what a descriptor is for. Both pollers have one shape, so one loop runs
on either; `poll(seconds)` gives pairs of a descriptor and the bits that it was watched for, or others after an error.
"""

import errno
import os
import select
import selectors
import socket
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

# EPOLLIN, EPOLLOUT and EPOLLRDNORM, written out for systems that lack the names. The kernel sets the first and the
# third together, and reports what was asked for: so a plain echo, which asks for FLOW, is told from all others at once.
READ = 0x1
WRITE = 0x4
FLOW = 0x40

_SOCKETS_OF_SELECT = 500  # of 512: the listeners are watched too
_NUMBERS_OF_SELECT = 1024


class Poller(Protocol):
    """What a loop needs of the system. A descriptor is watched from `watch` on until `forget` or `shut`."""

    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Wait for `timeout` seconds, for ever when it is None, and give what is ready."""

    def watch(self, fd: int, events: int, /) -> None:
        """Begin to report a descriptor."""

    def change(self, fd: int, events: int, /) -> None:
        """Report it for something else from now on."""

    def forget(self, fd: int, /) -> None:
        """Report it no more."""

    def adopt(self, sock: socket.socket, /) -> int:
        """Take a socket over and give its descriptor; from now on it is closed by `shut` alone."""

    small: bool
    """Whether `read` is quicker than `readv` for a small message."""
    least: int
    """How many bytes a read must have room for."""

    def read(self, fd: int, size: int, /) -> bytes:
        """Read into a new object; empty is the end of the stream."""

    def readv(self, fd: int, buffers: Sequence[memoryview], /) -> int:
        """Read into the one buffer; 0 is the end of the stream."""

    def write(self, fd: int, data: memoryview | bytes, /) -> int:
        """Write what goes without waiting, and say how much that was."""

    def shutdown_write(self, fd: int, /) -> None:
        """Send our end; reading goes on (shutdown(2))."""

    def close_notify(self, fd: int, /) -> None:
        """Say what has to be said before our end: nothing, in the clear."""

    def in_flight(self, fd: int, /) -> int:
        """Count the bytes not yet read by us, and those not yet acknowledged by the peer, where the system tells."""

    def close_fd(self, fd: int, /) -> None:
        """Close a descriptor that was adopted and watched."""

    def close(self) -> None:
        """Close the poller itself."""


class Epoll:
    """Linux: epoll, and sockets detached to bare descriptors, which cost no object each (epoll(7), readv(2))."""

    small = True
    least = 1

    def __init__(self) -> None:
        """Open an epoll descriptor; make it after a fork, not before."""
        epoll = select.epoll()
        self.poll = epoll.poll
        self.watch = epoll.register
        self.change = epoll.modify
        self.forget = epoll.unregister
        self.read = os.read
        self.readv = os.readv
        self.write = os.write
        self.close_fd = os.close  # close(2) also takes it out of the epoll set
        self.close = epoll.close

    def adopt(self, sock: socket.socket) -> int:
        """Detach the socket."""
        return sock.detach()

    def shutdown_write(self, fd: int) -> None:
        """Borrow a socket object for the one call that needs it; its family plays no part in that."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        try:
            sock.shutdown(socket.SHUT_WR)
        finally:
            sock.detach()

    def close_notify(self, fd: int) -> None:
        """Nothing is to be said."""

    def in_flight(self, fd: int) -> int:
        """Ask the socket's two queues."""
        return in_flight(fd)


class Selector:
    """Everywhere: the best of `selectors`, and socket objects, since on Windows a socket is no file descriptor."""

    small = False
    least = 1

    def __init__(self) -> None:
        """Open a selector."""
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self.close = self._selector.close

    def adopt(self, sock: socket.socket) -> int:
        """Keep the socket under its number. Raises OSError (EMFILE) when `select` could not watch it."""
        fd = sock.fileno()
        if isinstance(self._selector, selectors.SelectSelector) and self._beyond_select(fd):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._sockets[fd] = sock
        return fd

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for `timeout` seconds, for ever when it is None."""
        return [(key.fd, key.data) for key, _ in self._selector.select(timeout)]

    def watch(self, fd: int, events: int) -> None:
        """Begin to report a descriptor."""
        self._selector.register(fd, self._translated(events), events)

    def change(self, fd: int, events: int) -> None:
        """Report it for something else from now on; for nothing at all, `selectors` knows no other word than none."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        if events:
            self._selector.register(fd, self._translated(events), events)

    def forget(self, fd: int) -> None:
        """Report it no more."""
        self._selector.unregister(fd)

    def read(self, fd: int, size: int) -> bytes:
        """Read into a new object."""
        return self._sockets[fd].recv(size)

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer."""
        return self._sockets[fd].recv_into(buffers[0])

    def write(self, fd: int, data: memoryview | bytes) -> int:
        """Write what goes without waiting."""
        return self._sockets[fd].send(data)

    def shutdown_write(self, fd: int) -> None:
        """Send our end."""
        self._sockets[fd].shutdown(socket.SHUT_WR)

    def close_notify(self, fd: int) -> None:
        """Nothing is to be said."""

    def in_flight(self, fd: int) -> int:
        """Ask the socket's two queues."""
        return in_flight(fd)

    def close_fd(self, fd: int) -> None:
        """Forget the descriptor and close its socket."""
        self.change(fd, 0)
        self._sockets.pop(fd).close()

    def _beyond_select(self, fd: int) -> bool:
        # On Windows FD_SETSIZE counts sockets, elsewhere it is the first number too high (select(2)).
        return len(self._sockets) >= _SOCKETS_OF_SELECT if os.name == "nt" else fd >= _NUMBERS_OF_SELECT

    @staticmethod
    def _translated(events: int) -> int:
        return (selectors.EVENT_READ if events & (FLOW | READ) else 0) | (
            selectors.EVENT_WRITE if events & WRITE else 0
        )


def in_flight(fd: int) -> int:
    """Count what the kernel holds of a connection, unread or unacknowledged (tcp(7)); 0 where it does not tell."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has neither
        import termios  # noqa: PLC0415
    except ImportError:
        return 0
    total = 0
    for request in (termios.FIONREAD, termios.TIOCOUTQ):
        answer = array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(fd, request, answer)
        total += answer[0]
    return total


def best() -> Poller:
    """Make the fastest poller that this system has."""
    return Epoll() if hasattr(select, "epoll") and hasattr(os, "readv") else Selector()
