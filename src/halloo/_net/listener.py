"""Listen on addresses, and take in who comes.

Knows sockets that listen, and how clients of each scheme come. A Listener tells its address when it listens already.
"""

import os
import socket
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from halloo._core.address import Address, AddressLike, parse
from halloo._core.limits import HANDSHAKE
from halloo._core.tls_options import ServerTLS
from halloo._net import binding, bpf, unix
from halloo._net.connection import INTERNET, Connection
from halloo._net.datagrams import DatagramListener, dropped
from halloo._net.readiness import until_readable
from halloo.errors import TimedOut, UsageError

if TYPE_CHECKING:  # ssl is slow to import, and only tls:// needs it
    from halloo._net.tls import TlsServer

_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START


class Listener:
    """Sockets that listen, one for each family; `accept` gives the connections, in order of their coming."""

    def __init__(
        self,
        sockets: Sequence[tuple[socket.socket, str]],
        tls: ServerTLS | None = None,
        *,
        files: bool = True,
    ) -> None:
        """Take over sockets that listen already, each with its scheme; `tls` are for clients of `tls://`.

        `files` is whether those of Unix sockets are ours to remove.
        """
        self.sockets = tuple(sock for sock, _ in sockets)
        self.addresses = tuple(_address(sock, scheme) for sock, scheme in sockets)
        self._files = [(at.path, unix.identity(at.path)) for at in self.addresses if files and at.path]
        self.secure = any(at.scheme == "tls" for at in self.addresses)
        self._certificates = tls or ServerTLS()
        self._boxes = {
            sock: DatagramListener(sock)
            for sock, at in zip(self.sockets, self.addresses, strict=True)
            if at.scheme == "udp"
        }
        self._dropped = 0
        for sock in self.sockets:
            sock.setblocking(False)

    @cached_property
    def host(self) -> "TlsServer":
        """What shakes hands with clients of `tls://`; without a file, its certificate is made now."""
        from halloo._net.tls import TlsServer  # noqa: PLC0415 - as at the top

        return TlsServer(self._certificates)

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the certificate that clients of `tls://` are shown, None when there is no such address."""
        return self.host.fingerprint if self.secure else None

    @property
    def made(self) -> str | None:
        """The fingerprint again, when it is that of a throw-away certificate, which nobody can know otherwise."""
        return None if self._certificates.cert else self.fingerprint

    @property
    def address(self) -> Address:
        """The first of the addresses, with its real port."""
        return self.addresses[0]

    def accept(self, *, timeout: float | None = None) -> Connection:
        """Wait for the next client, `timeout` seconds or for ever, and as long again, or 10, for the handshake of TLS.

        Over `udp://` a client is who has sent a datagram and has no connection yet; it is the first to be received.
        Raises TimedOut; Untrusted, Reset and PeerError for a client whose handshake fails.
        """
        while True:
            ready = [sock for sock, box in self._boxes.items() if box.datagrams] or until_readable(
                self.sockets, timeout
            )
            if not ready:
                came = "wrote" if self.address.scheme == "udp" else "connected"
                raise TimedOut(f"nobody {came} to {self.address.place} within {timeout:g} seconds")
            for listener in ready:
                if box := self._boxes.get(listener):
                    if served := box.accept():
                        return served
                    continue  # what had come was damaged (its checksum)
                try:
                    sock, peer = listener.accept()
                except (BlockingIOError, ConnectionError):
                    continue  # the client gave up before it was accepted
                return self._accepted(self.addresses[self.sockets.index(listener)], sock, peer, timeout)

    def _accepted(
        self, place: Address, sock: socket.socket, peer: tuple[str, int], timeout: float | None
    ) -> Connection:
        if place.path is not None:
            return Connection(sock, place)
        address = Address(place.scheme, *peer[:2])
        if place.scheme == "tls":
            sock.setblocking(False)
            sock = self.host.shake(sock, address, HANDSHAKE if timeout is None else timeout)
        return Connection(sock, address)

    def close(self) -> None:
        """Stop listening, and remove the file of a Unix socket."""
        self.release()
        for path, made in self._files:
            unix.remove(path, made)
        self._files.clear()

    def turn_away(self) -> None:
        """Let the kernel drop who knocks from now on (SYN without ACK); who is in its queue can still be accepted.

        Between the last accept and the close somebody could otherwise come in, and be reset (socket(7)); and where
        datagrams come without a pause, there would be no last one.
        """
        for sock in self.sockets:
            if sock.family in INTERNET:
                bpf.turn_away(sock)

    def for_workers(self, count: int, *, buffer: int | None) -> list["Listener"]:
        """Give a listener for each of so many workers, itself the first: streams shared, but datagrams apart.

        Where only streams come, or the system would not spread datagrams (SO_REUSEPORT; socket(7)), itself will do.
        """
        if count == 1 or not self._boxes or not sys.platform.startswith("linux"):
            return [self]
        for sock in self._boxes:  # after they were bound, so that somebody else's were told that the port is taken
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return [self, *(self.again(buffer=buffer, streams=False) for _ in range(count - 1))]

    def again(self, *, buffer: int | None, streams: bool = True) -> "Listener":
        """Open sockets beside these, on the same ports (SO_REUSEPORT); `streams` is whether not for datagrams alone.

        Raises AddressInUse where the present ones do not share theirs.
        """
        sockets: list[tuple[socket.socket, str]] = []
        try:
            for sock, at in zip(self.sockets, self.addresses, strict=True):
                if streams or sock in self._boxes:
                    family = 6 if sock.family == socket.AF_INET6 else 4  # the host `::` alone would mean both
                    chosen = binding.options(at.scheme, buffer, reuse_port=True)
                    (mine,) = binding.bound(at, family, chosen)
                else:
                    mine = sock.dup()
                sockets.append((mine, at.scheme))
            return Listener(sockets, self._certificates, files=streams)
        except BaseException:
            for sock, _ in sockets:
                sock.close()
            raise

    @property
    def dropped(self) -> int:
        """How many datagrams the kernel has dropped so far: its buffer was full, or they came round in a loop."""
        if self.sockets[0].fileno() >= 0:
            self._dropped = sum(dropped(sock) for sock in self._boxes)
        return self._dropped

    def release(self) -> None:
        """Stop listening in this process; others may go on."""
        self.dropped  # noqa: B018 - the last chance to ask
        for sock in self.sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(
    *addresses: AddressLike,
    family: int | None = None,
    buffer: int | None = None,
    reuse_port: bool = False,
    tls: ServerTLS | None = None,
) -> Listener:
    """Listen on the addresses, on loopback port 8888 when there is none; port 0 takes a free one.

    `family` is 4 or 6 for one alone; `buffer` is how many bytes the kernel may hold of a connection each way, where its
    own choice is too much; `reuse_port` lets others of this user listen on the same port (SO_REUSEPORT).
    `tls` are for `tls://`, where without them one is made that clients know by the listener's `fingerprint`.
    Raises AddressInUse, NotPermitted, AddressNotAvailable, AddressError.

    >>> with listen(0) as listener, connect(listener.address) as client, listener.accept() as served:
    ...     client.send(b"hello")
    """
    places = [parse(address) for address in addresses or (Address(),)]
    if tls and all(place.scheme != "tls" for place in places):
        raise UsageError("tls is for tls://, and no address is", "write tls:// before the host or the port")
    sockets: list[tuple[socket.socket, str]] = []
    try:
        for place in places:
            chosen = binding.options(place.scheme, buffer, reuse_port=reuse_port)
            sockets += [(sock, place.scheme) for sock in binding.bound(place, family, chosen)]
        listener = Listener(sockets, tls)
        if tls:
            listener.host  # noqa: B018 - so that a file that cannot be used is told now
    except BaseException:
        for sock, _ in sockets:
            sock.close()
        raise
    return listener


def _address(sock: socket.socket, scheme: str) -> Address:
    name = sock.getsockname()
    return Address(scheme, *name[:2]) if sock.family in INTERNET else Address("unix", None, 0, name)


def inherited() -> Listener | None:
    """Take over the sockets that systemd has opened for us, if it has (sd_listen_fds(3))."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return None
    numbers = range(_FIRST_INHERITED, _FIRST_INHERITED + int(os.environ.pop("LISTEN_FDS", "0")))
    sockets = [socket.socket(fileno=number) for number in numbers]
    if not sockets:
        return None
    return Listener([(sock, _scheme(sock)) for sock in sockets], files=False)


def _scheme(sock: socket.socket) -> str:
    if sock.family not in INTERNET:
        return "unix"
    return "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
