"""Take clients in: from the listening sockets into the loop, unless the house is full or they are not welcome.

Knows accept(2) and its errors. What becomes of a client afterwards is the loop's business.
"""

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo._core.limits import AdmissionControl
from halloo._server import connections as states
from halloo._server.handlers import Handler, PeerName, Respond
from halloo._server.poller import READ

if TYPE_CHECKING:
    from ssl import SSLContext

    from halloo._server.tcp import Loop
    from halloo._server.timestamps import ProbeTimestamper

ACCEPTS = 16  # connections taken at one event, so that a burst of them does not hold up the others
FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # nothing left to make a socket of
FULL_PAUSE = 0.1  # seconds until the next try, when no connection of ours closes before
LOOK = 1.0  # seconds after which a worker looks at a shared listener without having been woken
# Errors that belong to the connection that was to be, not to the listener.
PASSING = {
    getattr(errno, name, 0)
    for name in (
        *("ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH"),
        *("EOPNOTSUPP", "ENETUNREACH", "ECONNRESET", "ETIMEDOUT"),
    )
}
EXCLUSIVE = 1 << 28  # EPOLLEXCLUSIVE: of the workers that wait for one listener, wake one (epoll_ctl(2))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket that listens, and what its clients find: the echo or a handler, in the clear or over TLS."""

    sock: socket.socket
    handler: Handler | None = None
    context: "SSLContext | None" = None
    respond: Respond | None = None  # to datagrams
    timestamper: "ProbeTimestamper | None" = None  # of datagrams

    @property
    def stream(self) -> bool:
        """Whether its clients connect; otherwise they send datagrams."""
        return self.sock.type == socket.SOCK_STREAM


class Acceptor:
    """The listening sockets of a loop, open or shut together."""

    def __init__(self, loop: "Loop", posts: Sequence[Endpoint], *, clients: int | None, shared: bool) -> None:
        """Stand open; `clients` is how many to let in at all, `shared` that other workers have the same listeners."""
        self.admission = AdmissionControl(loop.limits) if loop.limits.controls_admission else None
        self._hosts: list[str] = []  # by descriptor, where they are counted
        self._loop = loop
        self._posts = {post.sock.fileno(): post for post in posts}
        self._clients = clients
        self._shared = shared
        self._events = READ | (EXCLUSIVE if shared else 0)
        self.open = False
        self.resume_accepting()
        if shared:
            self._retry()

    def add(self, posts: Sequence[Endpoint]) -> None:
        """Stand open at more sockets."""
        self.pause_accepting()
        self._posts.update((post.sock.fileno(), post) for post in posts)
        self.resume_accepting()

    def resume_accepting(self) -> None:
        """Take clients in again."""
        if not self.open:
            self.open = True
            for fd in self._posts:
                self._loop.table.begin(fd, states.LISTENING)
                self._loop.poller.watch(fd, self._events)

    def pause_accepting(self) -> None:
        """Take nobody in for now; who connects waits in the kernel's queue."""
        if self.open:
            self.open = False
            for fd in self._posts:
                self._loop.table.state[fd] = states.FREE
                with suppress(OSError, KeyError, ValueError):  # its owner has closed it already
                    self._loop.poller.forget(fd)

    def close(self) -> None:
        """Take in everybody who waits, and then nobody more."""
        for fd in self._posts if self.open else ():
            while self.open and self.accept(fd):
                pass
        self.pause_accepting()
        self._posts.clear()

    def accept(self, fd: int) -> bool:
        """Take in who waits at a listener: the act LISTENING; whether more may be waiting."""
        post, more = self._posts[fd], True
        for _ in range(ACCEPTS):
            if self._loop.table.row[states.ACCEPTED] == self._clients:
                self.pause_accepting()
                return False
            try:
                sock, peer = post.sock.accept()
            except BlockingIOError:
                more = False
                break
            except OSError as error:
                if self._out_of_resources(error):
                    return False
                continue
            if (self.admission is None or self._admit(sock, peer)) and not self._begin(sock, peer, post):
                return False
        if self._shared:
            # To the end of the kernel's queue of waiters: otherwise the same worker would be woken each time.
            self._loop.poller.forget(fd)
            self._loop.poller.watch(fd, self._events)
        return more

    def _out_of_resources(self, error: OSError) -> bool:
        """Pause after an error that the next client would meet too, and say so; count one that was a client's own."""
        if error.errno in FULL:
            self._pause(error)
            return True
        if error.errno not in PASSING:
            raise error
        self._loop.table.count(errno.errorcode[error.errno or 0])
        return False

    def connection_closed(self, fd: int) -> None:
        """Note that a client has gone; perhaps there is room again."""
        if self.admission:
            self.admission.leave(self._hosts[fd] if self._hosts else "")
        if not self.open and self._posts and self._loop.running:
            self.resume_accepting()

    def _begin(self, sock: socket.socket, peer: PeerName, post: Endpoint) -> bool:
        """Hand a client to the loop; whether the next one may come too."""
        sock.setblocking(False)
        fd = sock.fileno()
        if self.admission and self._loop.limits.max_per_host:  # before it begins, for it may end at once
            if fd >= len(self._hosts):
                self._hosts.extend([""] * (fd + 64 - len(self._hosts)))
            self._hosts[fd] = sys.intern(host_of(peer))  # one text for all who come from there
        try:
            self._loop.begin(sock, peer, post)
        except OSError as error:
            if self.admission:
                self.admission.leave(host_of(peer))
            sock.close()
            if isinstance(error, ConnectionError):  # gone before TLS began
                self._loop.table.count(errno.errorcode.get(error.errno or 0, "other"))
            else:
                self._pause(error)  # a poller that cannot watch one more
                return False
        return True

    def _admit(self, sock: socket.socket, peer: PeerName) -> bool:
        reason = self.admission.enter(host_of(peer)) if self.admission else None
        if reason is None:
            return True
        with suppress(OSError):
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):  # closed with bytes unread it would be a reset
                pass
        sock.close()
        self._loop.table.count(reason)
        if self._loop.observer:
            self._loop.observer.refused(peer, reason)
        return False

    def _pause(self, error: OSError) -> None:
        """Stop accepting until a connection closes or a moment has passed: a full listener would be ready for ever.

        A worker waits for a connection of its own: asking on a timer would swallow wake-ups meant for the others.
        """
        self._loop.table.count(errno.errorcode[error.errno or 0])
        self.pause_accepting()
        if not (self._shared and self._loop.table.open):
            self._loop.timers.at(self._loop.clock() + FULL_PAUSE, self.resume_accepting)

    def _retry(self) -> None:
        """Try each listener once a second: a wake-up may have gone to a worker that could not use it."""
        if self.open:
            for fd in self._posts:
                self.accept(fd)
        self._loop.timers.at(self._loop.clock() + LOOK, self._retry)


def host_of(peer: PeerName) -> str:
    """Give the host of an address as accept(2) reports it; a Unix socket's client has none."""
    return peer[0] if isinstance(peer, tuple) else ""
