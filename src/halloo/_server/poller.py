"""Poll, read, write and close descriptors: on Linux by number, elsewhere by socket object.

Both pollers have one interface, so that one loop runs on either. `poll(seconds)` returns pairs of a descriptor and the
bits that it was watched for, or other bits after an error.
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

# EPOLLIN, EPOLLOUT and EPOLLRDNORM, as numbers for systems that lack the names. The kernel sets the first and the third
# together and reports those requested, so READ_NORMAL, which plain echoes alone request, identifies them.
READ = 0x1
WRITE = 0x4
READ_NORMAL = 0x40

_MAX_SELECT_SOCKETS = 500  # of 512: the listeners are watched too
_FD_SETSIZE = 1024


class Poller(Protocol):
    """The system calls that a loop needs. A descriptor is watched from `watch` until `unwatch` or `close_fd`."""

    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Wait for `timeout` seconds, without limit if None; return what is ready."""

    def watch(self, fd: int, events: int, /) -> None:
        """Start reporting a descriptor."""

    def change(self, fd: int, events: int, /) -> None:
        """Change the events reported for a descriptor."""

    def unwatch(self, fd: int, /) -> None:
        """Stop reporting a descriptor."""

    def adopt(self, sock: socket.socket, /) -> int:
        """Take over a socket and return its descriptor; from now on only `close_fd` closes it."""

    prefers_read: bool
    """Whether `read` is quicker than `readv` for a small message."""
    min_read: int
    """The smallest buffer that `readv` may be given, in bytes."""

    def read(self, fd: int, size: int, /) -> bytes:
        """Read into a new object; empty at the end of the stream."""

    def readv(self, fd: int, buffers: Sequence[memoryview], /) -> int:
        """Read into the one buffer; 0 at the end of the stream."""

    def write(self, fd: int, data: memoryview | bytes, /) -> int:
        """Write without blocking; return the number of bytes written."""

    def shutdown_write(self, fd: int, /) -> None:
        """Shut down the sending side (shutdown(2)); reading goes on."""

    def close_notify(self, fd: int, /) -> None:
        """Send close_notify if the connection uses TLS."""

    def queued_bytes(self, fd: int, /) -> tuple[int, int]:
        """Count a connection's unread and its unacknowledged bytes (tcp(7)); 0 if the system does not report them."""

    def close_fd(self, fd: int, /) -> None:
        """Close a descriptor that was adopted and watched."""

    def release_fd(self, fd: int, /) -> None:
        """Close it in this process alone: the parent of a forked child goes on watching it."""

    def close(self) -> None:
        """Close the poller itself."""


def queued_bytes(fd: int) -> tuple[int, int]:
    """Count a connection's unread and its unacknowledged bytes in the kernel (tcp(7)); 0 if it does not report them."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has neither
        import termios  # noqa: PLC0415 - as above
    except ImportError:
        return 0, 0
    counts = array("i", [0])
    found = []
    for request in (termios.FIONREAD, termios.TIOCOUTQ):
        counts[0] = 0
        with suppress(OSError):
            fcntl.ioctl(fd, request, counts)
        found.append(counts[0])
    return found[0], found[1]


class Epoll:
    """Linux: epoll, and sockets detached to bare descriptors, which need no object each (epoll(7), readv(2))."""

    prefers_read = True
    min_read = 1
    queued_bytes = staticmethod(queued_bytes)

    def __init__(self) -> None:
        """Open an epoll descriptor; after a fork, not before."""
        epoll = select.epoll()
        self.poll = epoll.poll
        self.watch = epoll.register
        self.change = epoll.modify
        self.unwatch = epoll.unregister
        self.read = os.read
        self.readv = os.readv
        self.write = os.write
        self.close_fd = self.release_fd = os.close  # the last close(2) also takes it out of the epoll set
        self.close = epoll.close

    def adopt(self, sock: socket.socket) -> int:
        return sock.detach()

    def shutdown_write(self, fd: int) -> None:
        """Make a socket object for this call alone; its family does not matter here."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        try:
            sock.shutdown(socket.SHUT_WR)
        finally:
            sock.detach()

    def close_notify(self, fd: int) -> None:
        """Do nothing: the connection is unencrypted."""


class Selector:
    """Other systems: `selectors` and socket objects; on Windows a socket is not a file descriptor."""

    prefers_read = False
    min_read = 1
    queued_bytes = staticmethod(queued_bytes)

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self.close = self._selector.close

    def adopt(self, sock: socket.socket) -> int:
        """Keep the socket by its number. Raises OSError (EMFILE) if `select` could not watch it."""
        fd = sock.fileno()
        if isinstance(self._selector, selectors.SelectSelector) and self._beyond_select(fd):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._sockets[fd] = sock
        return fd

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for `timeout` seconds, without limit if None."""
        return [(key.fd, key.data) for key, _ in self._selector.select(timeout)]

    def watch(self, fd: int, events: int) -> None:
        """Start reporting a descriptor."""
        self._selector.register(fd, self._selector_events(events), events)

    def change(self, fd: int, events: int) -> None:
        """Change the events reported for a descriptor; none unregisters it: `selectors` has no empty event mask."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        if events:
            self._selector.register(fd, self._selector_events(events), events)

    def unwatch(self, fd: int) -> None:
        """Stop reporting a descriptor."""
        self._selector.unregister(fd)

    def read(self, fd: int, size: int) -> bytes:
        return self._sockets[fd].recv(size)

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer."""
        return self._sockets[fd].recv_into(buffers[0])

    def write(self, fd: int, data: memoryview | bytes) -> int:
        return self._sockets[fd].send(data)

    def shutdown_write(self, fd: int) -> None:
        """Shut down the sending side."""
        self._sockets[fd].shutdown(socket.SHUT_WR)

    def close_notify(self, fd: int) -> None:
        """Do nothing: the connection is unencrypted."""

    def close_fd(self, fd: int) -> None:
        """Stop watching the descriptor and close its socket."""
        self.change(fd, 0)
        self.release_fd(fd)

    def release_fd(self, fd: int) -> None:
        """Close the socket only: a parent may share the epoll set behind `selectors`."""
        self._sockets.pop(fd).close()

    def _beyond_select(self, fd: int) -> bool:
        # On Windows FD_SETSIZE limits the count of sockets, elsewhere their numbers (select(2)).
        return len(self._sockets) >= _MAX_SELECT_SOCKETS if os.name == "nt" else fd >= _FD_SETSIZE

    @staticmethod
    def _selector_events(events: int) -> int:
        return (selectors.EVENT_READ if events & (READ_NORMAL | READ) else 0) | (
            selectors.EVENT_WRITE if events & WRITE else 0
        )


def default_poller() -> Poller:
    """Make the fastest poller of this system."""
    return Epoll() if hasattr(select, "epoll") and hasattr(os, "readv") else Selector()
