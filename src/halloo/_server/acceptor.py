"""Accept connections, subject to limits and access lists."""

import errno
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from halloo._core.limits import AdmissionControl, Limits
from halloo._net.binding import BACKLOG
from halloo._server import states
from halloo._server.connections import Connections
from halloo._server.counters import ACCEPTED, count_event, error_name
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import ConnectionObserver, PeerName
from halloo._server.poller import READ
from halloo._server.reactor import Reactor

if TYPE_CHECKING:
    from ssl import SSLContext


MAX_ACCEPTS = 16  # connections accepted at one event, so that a burst does not delay the other descriptors
# No descriptor or memory for one more socket, or none to watch it (accept(2), epoll_ctl(2)).
RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}
RESOURCE_PAUSE = 0.1  # seconds until the next attempt, if no connection closes before
REFUSED_READ = 256 * 1024  # bytes read from a refused client: all that the kernel queues before accept(2) by default
RETRY_INTERVAL = 1.0  # seconds after which a worker tries a shared listener without a wake-up
LISTENER_ERRORS = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # every other error is of the new connection (accept(2))
EXCLUSIVE = 1 << 28  # EPOLLEXCLUSIVE: wake one of the workers that wait for a listener (epoll_ctl(2))


AddConnection = Callable[[socket.socket, PeerName, Endpoint], object]
"""Takes over an accepted, non-blocking socket. Raises OSError where it cannot be watched."""


class Acceptor:
    """The listening sockets of a loop, all accepting or all paused."""

    def __init__(
        self,
        reactor: Reactor,
        connections: Connections,
        endpoints: Sequence[Endpoint],
        add_connection: AddConnection,
        *,
        limits: Limits,
        observer: ConnectionObserver | None = None,
        clients: int | None = None,
        shared: bool = False,
    ) -> None:
        """Start accepting; `clients` is the total number to accept; `shared` means that workers share the listeners."""
        self._reactor = reactor
        self._counters = connections.counters
        self._endpoints = {endpoint.sock.fileno(): endpoint for endpoint in endpoints}
        self._add_connection = add_connection
        self._admission = AdmissionControl(limits) if limits.controls_admission else None
        self._hosts: list[str] = []
        if limits.max_per_host is not None:
            reactor.by_descriptor(self._hosts, "")
        self._observer = observer
        self._clients = clients
        self._shared = shared
        self._events = READ | (EXCLUSIVE if shared else 0)
        self.accepting = False
        self._out_of_resources = False  # the only reason to pause that passes
        self._retry_planned = False
        reactor.handlers[states.LISTENING] = self.accept
        connections.on_closed.append(self._connection_closed)
        self.resume_accepting()
        if shared:
            self._retry()

    def add(self, endpoints: Sequence[Endpoint]) -> None:
        """Accept at more sockets."""
        self.pause_accepting()
        self._endpoints.update((endpoint.sock.fileno(), endpoint) for endpoint in endpoints)
        self.resume_accepting()

    def replace_context(self, context: "SSLContext") -> None:
        """Use another context for the TLS connections accepted from now on."""
        self._endpoints = {
            fd: replace(endpoint, context=context) if endpoint.context else endpoint
            for fd, endpoint in self._endpoints.items()
        }

    def resume_accepting(self) -> None:
        if not self.accepting:
            self.accepting = True
            for fd in self._endpoints:
                self._reactor.watch(fd, states.LISTENING, self._events)

    def pause_accepting(self) -> None:
        """Stop accepting, until `resume_accepting`; new clients wait in the kernel's queue."""
        self._out_of_resources = False
        if self.accepting:
            self.accepting = False
            for fd in self._endpoints:
                self._reactor.unwatch(fd)

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
            if self._counters[ACCEPTED] == self._clients:
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
                if self._admission is None or self._admit(sock, peer, endpoint):
                    self._hand_over(sock, peer, endpoint)
            if not self.accepting:
                return False
        if self._shared:
            # Move to the end of the kernel's wait queue: otherwise the same worker would be woken each time.
            self._reactor.poller.unwatch(fd)
            self._reactor.poller.watch(fd, self._events)
        return more

    def _count_error(self, error: OSError) -> None:
        """Count an error of a new connection; pause if the next one would meet it as well."""
        count_event(self._counters, error_name(error))
        if error.errno in RESOURCE_ERRORS:
            self._pause()

    def _connection_closed(self, fd: int, _reason: str) -> None:
        """Update admission, and accept again if paused: there may be resources now."""
        if self._admission:
            self._admission.leave(self._hosts[fd] if self._hosts else "")
        self._resume_after_pause()

    def _hand_over(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> None:
        sock.setblocking(False)
        fd = sock.fileno()
        self._reactor.add(fd, states.FREE)  # so that it is an index into every array
        if self._hosts:  # before it is added, because it may close at once
            self._hosts[fd] = sys.intern(host_of(peer))  # one string for all clients of a host
        try:
            self._add_connection(sock, peer, endpoint)
        except OSError as error:
            if self._admission:
                self._admission.leave(host_of(peer))
            sock.close()
            self._count_error(error)

    def _admit(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> bool:
        reason = self._admission.enter(host_of(peer)) if self._admission else None
        if reason is None:
            return True
        with suppress(OSError):
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(REFUSED_READ)  # closing with unread bytes would send a reset; once, as more may always follow
        sock.close()
        count_event(self._counters, reason)
        if self._observer:
            self._observer.refused(peer, endpoint.address, reason)
        return False

    def _pause(self) -> None:
        """Stop accepting until a connection closes or a time has passed: the listener would stay ready."""
        self.pause_accepting()
        self._out_of_resources = True
        if not (self._shared or self._retry_planned):
            self._retry_planned = True
            self._reactor.call_later(RESOURCE_PAUSE, self._retry_after_pause)

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
        self._reactor.call_later(RETRY_INTERVAL, self._retry)


def host_of(peer: PeerName) -> str:
    """Return the host of an address as accept(2) reports it, "" for a Unix socket."""
    return peer[0] if isinstance(peer, tuple) else ""
