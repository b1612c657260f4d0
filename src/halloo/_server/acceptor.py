"""Accept connections, subject to limits and access lists."""

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from halloo._core.limits import AdmissionControl
from halloo._net.binding import BACKLOG
from halloo._server import connections as states
from halloo._server.handlers import Handler, PeerName
from halloo._server.poller import READ
from halloo._server.responder import Responder

if TYPE_CHECKING:
    from ssl import SSLContext

    from halloo._server.tcp import Loop
    from halloo._server.timestamps import ProbeTimestamper

MAX_ACCEPTS = 16  # connections accepted at one event, so that a burst does not delay the other descriptors
# No descriptor or memory for one more socket, or none to watch it (accept(2), epoll_ctl(2)).
RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}
RESOURCE_PAUSE = 0.1  # seconds until the next attempt, if no connection closes before
REFUSED_READ = 256 * 1024  # bytes read from a refused client: all that the kernel queues before accept(2) by default
RETRY_INTERVAL = 1.0  # seconds after which a worker tries a shared listener without a wake-up
LISTENER_ERRORS = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # every other error is of the new connection (accept(2))
EXCLUSIVE = 1 << 28  # EPOLLEXCLUSIVE: wake one of the workers that wait for a listener (epoll_ctl(2))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server socket and its service: the echo or a handler, in the clear or over TLS."""

    sock: socket.socket
    handler: Handler | None = None
    context: "SSLContext | None" = None
    responder: Responder | None = None  # for datagrams
    timestamper: "ProbeTimestamper | None" = None  # for datagrams
    address: str = ""  # for the log
    scheme: int = field(init=False)  # its number in SCHEMES

    def __post_init__(self) -> None:
        unix = hasattr(socket, "AF_UNIX") and self.sock.family == socket.AF_UNIX
        object.__setattr__(self, "scheme", states.SCHEMES.index("unix" if unix else "tls" if self.context else "tcp"))

    @property
    def stream(self) -> bool:
        """Whether it accepts connections; otherwise it receives datagrams."""
        return self.sock.type == socket.SOCK_STREAM


class Acceptor:
    """The listening sockets of a loop, all accepting or all paused."""

    def __init__(self, loop: "Loop", endpoints: Sequence[Endpoint], *, clients: int | None, shared: bool) -> None:
        """Start accepting; `clients` is the total number to accept; `shared` means that workers share the listeners."""
        self.admission = AdmissionControl(loop.limits) if loop.limits.controls_admission else None
        self._hosts: list[str] = []  # by descriptor, if there is a limit per host
        self._loop = loop
        self._endpoints = {post.sock.fileno(): post for post in endpoints}
        self._clients = clients
        self._shared = shared
        self._events = READ | (EXCLUSIVE if shared else 0)
        self.accepting = False
        self._out_of_resources = False  # the only reason to pause that passes
        self._retry_planned = False
        self.resume_accepting()
        if shared:
            self._retry()

    def add(self, endpoints: Sequence[Endpoint]) -> None:
        """Accept at more sockets."""
        self.pause_accepting()
        self._endpoints.update((post.sock.fileno(), post) for post in endpoints)
        self.resume_accepting()

    def replace_context(self, context: "SSLContext") -> None:
        """Use another context for the TLS connections accepted from now on."""
        self._endpoints = {
            fd: replace(post, context=context) if post.context else post for fd, post in self._endpoints.items()
        }

    def resume_accepting(self) -> None:
        if not self.accepting:
            self.accepting = True
            for fd in self._endpoints:
                self._loop.table.add(fd, states.LISTENING)
                self._loop.poller.watch(fd, self._events)

    def pause_accepting(self) -> None:
        """Stop accepting, until `resume_accepting`; new clients wait in the kernel's queue."""
        self._out_of_resources = False
        if self.accepting:
            self.accepting = False
            for fd in self._endpoints:
                self._loop.table.state[fd] = states.FREE
                with suppress(OSError, KeyError, ValueError):  # the caller has closed it already
                    self._loop.poller.unwatch(fd)

    def close(self) -> None:
        """Accept every client in the queue, at most BACKLOG at each listener, and then no more."""
        self._resume_after_pause()
        for fd in self._endpoints if self.accepting else ():
            for _ in range(BACKLOG // MAX_ACCEPTS):
                if not (self.accepting and self.accept(fd)):
                    break
        self.pause_accepting()
        self._endpoints.clear()

    def accept(self, fd: int) -> bool:
        """Accept clients from a listener: the handler for LISTENING. Return whether more may be queued."""
        endpoint, more = self._endpoints[fd], True
        for _ in range(MAX_ACCEPTS):
            if self._loop.table.counters[states.ACCEPTED] == self._clients:
                self.pause_accepting()
                return False
            try:
                sock, peer = endpoint.sock.accept()
            except BlockingIOError:
                more = False
                break
            except OSError as error:
                if error.errno in LISTENER_ERRORS:
                    raise
                self._count_error(error)
            else:
                if self.admission is None or self._admit(sock, peer, endpoint):
                    self._add_connection(sock, peer, endpoint)
            if not self.accepting:
                return False
        if self._shared:
            # Move to the end of the kernel's wait queue: otherwise the same worker would be woken each time.
            self._loop.poller.unwatch(fd)
            self._loop.poller.watch(fd, self._events)
        return more

    def _count_error(self, error: OSError) -> None:
        """Count an error of a new connection; pause if the next one would meet it as well."""
        self._loop.table.count(states.error_name(error))
        if error.errno in RESOURCE_ERRORS:
            self._pause()

    def connection_closed(self, fd: int) -> None:
        """Update admission, and accept again if paused: there may be resources now."""
        if self.admission:
            self.admission.leave(self._hosts[fd] if self._hosts else "")
        self._resume_after_pause()

    def _add_connection(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> None:
        """Hand a client to the loop."""
        sock.setblocking(False)
        fd = sock.fileno()
        if self.admission and self._loop.limits.max_per_host:  # before it is added, because it may close at once
            if fd >= len(self._hosts):
                self._hosts.extend([""] * (fd + 64 - len(self._hosts)))
            self._hosts[fd] = sys.intern(host_of(peer))  # one string for all clients of a host
        try:
            self._loop.add_connection(sock, peer, endpoint)
        except OSError as error:
            if self.admission:
                self.admission.leave(host_of(peer))
            sock.close()
            self._count_error(error)

    def _admit(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> bool:
        reason = self.admission.enter(host_of(peer)) if self.admission else None
        if reason is None:
            return True
        with suppress(OSError):
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(REFUSED_READ)  # closing with unread bytes would send a reset; once, as more may always follow
        sock.close()
        self._loop.table.count(reason)
        if self._loop.observer:
            self._loop.observer.refused(peer, endpoint.address, reason)
        return False

    def _pause(self) -> None:
        """Stop accepting until a connection closes or a time has passed: the listener would stay ready."""
        self.pause_accepting()
        self._out_of_resources = True
        if not (self._shared or self._retry_planned):
            self._retry_planned = True
            self._loop.timers.call_at(self._loop.clock() + RESOURCE_PAUSE, self._retry_after_pause)

    def _retry_after_pause(self) -> None:
        self._retry_planned = False
        self._resume_after_pause()

    def _resume_after_pause(self) -> None:
        if self._out_of_resources:
            self._out_of_resources = False
            self.resume_accepting()

    def _retry(self) -> None:
        """Try each listener once a second: its wake-up may have gone to a worker that could not accept.

        A worker that has paused tries as well, and pauses again before it could take a wake-up meant for another.
        """
        self._resume_after_pause()
        for fd in self._endpoints:
            if self.accepting:
                self.accept(fd)
        self._loop.timers.call_at(self._loop.clock() + RETRY_INTERVAL, self._retry)


def host_of(peer: PeerName) -> str:
    """Return the host of an address as accept(2) reports it, "" for a Unix socket."""
    return peer[0] if isinstance(peer, tuple) else ""
