"""Listening sockets, and the connections of the clients that they accept.

A Listener listens, and knows its addresses with their real ports, as soon as it exists.
"""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from halloo._core import applicable, arguments
from halloo._core.address import Address, AddressLike, parse
from halloo._core.arguments import Family
from halloo._core.limits import HANDSHAKE, MAX_BUFFER
from halloo._core.tls_options import ServerTLS, given_name
from halloo._net import binding, bpf, unix
from halloo._net.connection import INTERNET, Connection
from halloo._net.datagram_listener import DatagramListener
from halloo._net.datagrams import DatagramConnection, dropped
from halloo._net.readiness import Interrupt, Steps, deadline_ns, run_steps, seconds_until
from halloo._net.resolver import from_sockaddr
from halloo.errors import ConnectionClosed, TimedOut, UsageError

if TYPE_CHECKING:  # ssl is slow to import, and only tls:// needs it
    from ssl import SSLContext

    from halloo._net.tls import TlsServer


class Listener:
    """Listening sockets, one for each family and address; `accept` returns the clients' connections in their order.

    `addresses` are where it listens, with the real ports, and `address` is the first. `accept` and `close` may be
    called from any thread.
    """

    def __init__(
        self,
        sockets: Sequence[tuple[socket.socket, str]],
        tls: "ServerTLS | SSLContext | None" = None,
        *,
        files: bool = True,
        inherited: bool = False,
    ) -> None:
        """Take over sockets that listen already, each with its scheme.

        `files` is whether to remove the files of Unix sockets when it closes. New clients of sockets that are
        `inherited` wait for the next process then.
        """
        self.sockets = tuple(sock for sock, _ in sockets)
        self.addresses = tuple(_address(sock, scheme) for sock, scheme in sockets)
        self._files = [(at.path, unix.identity(at.path)) for at in self.addresses if files and at.path]
        self._inherited = inherited
        self.secure = any(at.scheme == "tls" for at in self.addresses)
        self._tls = ServerTLS() if tls is None else tls
        self._datagrams = {
            sock: DatagramListener(sock)
            for sock, at in zip(self.sockets, self.addresses, strict=True)
            if at.scheme == "udp"
        }
        self._dropped = 0
        self._interrupt = Interrupt()
        self._pid = os.getpid()
        for sock in self.sockets:
            sock.setblocking(False)

    @cached_property
    def tls_server(self) -> "TlsServer":
        """The server's side of TLS; without a certificate, one is made now."""
        from halloo._net.tls import TlsServer  # noqa: PLC0415 - as at the top

        return TlsServer(self._tls)

    @property
    def reloadable(self) -> bool:
        """Whether the certificates of `tls://` are in files, which `reload` reads again."""
        return self.secure and isinstance(self._tls, ServerTLS) and bool(self._tls)

    def reload(self) -> None:
        """Read the certificate files again, for connections from now on. Raises LocalError, MissingFile."""
        self.tls_server = self.tls_server.reloaded()

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the `tls://` certificate, hexadecimal; None without one, or where an SSLContext holds it."""
        return self.tls_server.fingerprint if self.secure else None

    @property
    def made_fingerprint(self) -> str | None:
        """The fingerprint of a certificate made for this process, which clients can learn in no other way."""
        return self.fingerprint if isinstance(self._tls, ServerTLS) and not self._tls.cert else None

    @property
    def ca_pem(self) -> bytes | None:
        """What a client may trust to verify the `tls://` certificate, as PEM; None as for `fingerprint`."""
        return self.tls_server.ca_pem if self.secure else None

    def client_context(self) -> "SSLContext":
        """Make an ssl.SSLContext for clients that trusts the `tls://` certificate and no other. Raises UsageError."""
        if not self.secure:
            raise UsageError("no address is tls://, so there is no certificate", "write tls:// before the host or port")
        return self.tls_server.client_context()

    @property
    def address(self) -> Address:
        """The first of the addresses."""
        return self.addresses[0]

    def accept(self, *, timeout: float | None = None) -> Connection:
        """Wait `timeout` seconds, for ever when None, for the next client; as long, or 10 seconds, for its handshake.

        Raises TimedOut, ConnectionClosed; Untrusted, Reset and TlsError for a client whose handshake fails; UsageError
        where only udp:// addresses are listened on.
        """
        listening = [sock for sock in self.sockets if sock not in self._datagrams]
        if not listening:
            raise UsageError("udp:// has datagrams, and no connections to accept", "use accept_udp")
        found = self._accept(listening, timeout)
        assert isinstance(found, Connection)  # noqa: S101 - of a stream's socket
        return found

    def accept_udp(self, *, timeout: float | None = None) -> DatagramConnection:
        """Wait for a datagram of a sender without a connection, and return a connection whose first datagram it is.

        Raises TimedOut, ConnectionClosed; UsageError where no udp:// address is listened on.
        """
        if not self._datagrams:
            raise UsageError("no udp:// address is listened on", "use accept")
        found = self._accept(list(self._datagrams), timeout)
        assert isinstance(found, DatagramConnection)  # noqa: S101 - of a datagram socket
        return found

    def accept_any(self, *, timeout: float | None = None) -> Connection | DatagramConnection:
        """Accept as `accept` or `accept_udp`, whichever comes first."""
        return self._accept(self.sockets, timeout)

    def _accept(self, sockets: Sequence[socket.socket], timeout: float | None) -> Connection | DatagramConnection:
        arguments.seconds("timeout", timeout)
        until_ns = deadline_ns(timeout)
        while True:
            ready = [sock for sock in sockets if sock in self._datagrams and self._datagrams[sock].datagrams]
            ready = ready or self._interrupt.wait(sockets, [], seconds_until(until_ns))
            self._check_open()
            if not ready:
                none = "datagram arrived at" if self._datagrams.keys() >= set(sockets) else "client connected to"
                raise TimedOut(f"no {none} {self.address.place} within {timeout:g} seconds", "allow more with timeout=")
            for listening in ready:
                handshake_ns = deadline_ns(HANDSHAKE if timeout is None else timeout)
                try:
                    accepted = run_steps(self.accepting(listening, handshake_ns), self._interrupt)
                except TimedOut:
                    self._check_open()
                    raise
                if accepted:
                    return accepted

    def _check_open(self) -> None:
        if self._interrupt.requested:
            raise ConnectionClosed(f"the listener on {self.address.place} is closed", "listen again")

    def accepting(
        self, listening: socket.socket, until_ns: int | None
    ) -> Steps[Connection | DatagramConnection | None]:
        """Accept what waits at one of the sockets, in steps, and do its handshake until a time.

        The result is None if nothing waits: the client gave up before, or the datagram was damaged (its checksum).
        Raises as `accept`.
        """
        if listening in self._datagrams:
            return self._datagrams[listening].accept()
        try:
            sock, peer = listening.accept()
        except (BlockingIOError, ConnectionError):
            return None
        address = self.addresses[self.sockets.index(listening)]
        if address.path is not None:
            return Connection(sock, address)
        client = from_sockaddr(address.scheme, peer)
        if address.scheme == "tls":
            sock.setblocking(False)
            sock = yield from self.tls_server.shaking(sock, client, until_ns)
        return Connection(sock, client)

    def close(self) -> None:
        """Stop listening, and remove the file of a Unix socket. An `accept` that waits raises ConnectionClosed.

        In a child forked after `listen`, it only releases the descriptors.
        """
        if self._pid != os.getpid():
            self.release()
            return
        self._interrupt.close()
        for path, made in self._files:  # while the sockets are open, so that no other has the number of their inode
            unix.remove(path, made)
        self._files.clear()
        self.release()

    def refuse_new(self, kind: socket.SocketKind) -> None:
        """Have the kernel drop new connections (SYN without ACK), or datagrams; those queued can still be accepted.

        Between the last accept and the close a client could otherwise connect, and be reset (socket(7)); and where
        datagrams arrive without a pause, there would be no last one.
        """
        for sock in () if self._inherited else self.sockets:
            if sock.type == kind and sock.family in INTERNET:
                bpf.refuse_new(sock)

    def for_workers(self, count: int, *, buffer: int | None) -> Iterator["Listener"]:
        """Open a listener for each of `count` workers beside the one that has this: streams shared, datagrams apart.

        With streams only, or where the system would not spread datagrams (SO_REUSEPORT; socket(7)), all share this.
        """
        if not (count and self._datagrams and sys.platform.startswith("linux")):
            return
        for sock in self._datagrams:  # after bind(2), which has found out whether the port was free
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(count):
            yield self.reopen(buffer=buffer, streams=False)

    def reopen(self, *, buffer: int | None, streams: bool = True) -> "Listener":
        """Open sockets on the same ports (SO_REUSEPORT); without `streams`, for datagrams alone.

        Raises AddressInUse where these do not share their ports.
        """
        sockets: list[tuple[socket.socket, str]] = []
        try:
            for sock, at in zip(self.sockets, self.addresses, strict=True):
                if streams or sock in self._datagrams:
                    family = 6 if sock.family == socket.AF_INET6 else 4  # the host `::` alone would mean both
                    chosen = binding.options(at.scheme, buffer, reuse_port=True)
                    (mine,) = binding.bound(at, family, chosen)
                else:
                    mine = sock.dup()
                sockets.append((mine, at.scheme))
            return Listener(sockets, self._tls, files=streams)
        except BaseException:
            for sock, _ in sockets:
                sock.close()
            raise

    @property
    def dropped(self) -> int:
        """How many datagrams the kernel has dropped: its buffer was full, or they had circled between echoes."""
        if all(sock.fileno() >= 0 for sock in self._datagrams):
            self._dropped = sum(dropped(sock) for sock in self._datagrams)
        return self._dropped

    def close_streams(self) -> None:
        """Close the sockets that accept connections, in this process alone; datagrams still arrive at the others."""
        for sock in self.sockets:
            if sock not in self._datagrams:
                sock.close()

    def release(self) -> None:
        """Close the sockets in this process alone; other processes go on listening."""
        self._interrupt.release()
        self.dropped  # noqa: B018 - counts for the last time
        for sock in self.sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(
    *addresses: AddressLike,
    family: Family | None = None,
    buffer: int | None = None,
    reuse_port: bool = False,
    tls: "ServerTLS | SSLContext | None" = None,
    mode: int = unix.MODE,
) -> Listener:
    """Listen on the addresses, by default on loopback port 8888; port 0 takes a free one. See Address.

    `family` is 4 or 6 for one alone. `buffer` is how many bytes the kernel may hold of a connection in each direction,
    where its own choice is too much. `reuse_port` lets other processes of this user listen on the same port
    (SO_REUSEPORT). `tls` is for `tls://`; without one a certificate is made, which clients know by its `fingerprint`.
    `mode` are the permissions of the file of a `unix:` address, by default for this user alone (0o600; chmod(2)).
    Raises AddressInUse, NotPermitted, AddressNotAvailable, AddressError, MissingFile, UsageError.

    >>> with listen(0) as listener, connect(listener.address) as client, listener.accept() as served:
    ...     client.send(b"hello")
    """
    wanted = [parse(address) for address in addresses or (Address(),)]
    arguments.family(family)
    arguments.whole("buffer", buffer, 1, MAX_BUFFER, none=True, unit=" bytes")
    arguments.switches(reuse_port=reuse_port)
    arguments.whole("mode", mode, 0, unix.MAX_MODE)
    secured = given_name(tls)
    given = {secured: True, "family": family, "mode": mode != unix.MODE}
    schemes = {address.scheme for address in wanted}
    applicable.check(schemes, [name for name, value in given.items() if value])
    if reuse_port:
        applicable.check_shared(schemes)
    sockets: list[tuple[socket.socket, str]] = []
    try:
        for address in wanted:
            chosen = binding.options(address.scheme, buffer, reuse_port=reuse_port)
            earlier = [_address(sock, scheme) for sock, scheme in sockets]
            opened = binding.bound(address, family, chosen, mode, earlier=earlier)
            sockets += [(sock, address.scheme) for sock in opened]
        listener = Listener(sockets, tls)
        if secured:
            listener.tls_server  # noqa: B018 - reads the files now, so that an error is raised here
    except BaseException:
        Listener(sockets).close()  # which also removes the files of Unix sockets
        raise
    return listener


def _address(sock: socket.socket, scheme: str) -> Address:
    name = sock.getsockname()
    if sock.family in INTERNET:
        return from_sockaddr(scheme, name)
    # An abstract name is bytes; only systemd passes such sockets.
    return Address("unix", None, 0, name if isinstance(name, str) else unix.name_text(name))
