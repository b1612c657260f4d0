"""Open listening sockets: on loopback unless told otherwise, on both families with one port, and say why it failed.

Knows bind(2), listen(2) and HALLOO_BIND. A Listener tells its address only when it is already listening.
"""

import errno
import os
import socket
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Self

from halloo.core.addresses import LOOPBACK, Address, AddressLike, parse
from halloo.core.limits import HANDSHAKE
from halloo.core.trust import Certificates
from halloo.errors import PortTaken, TimedOut, Unsupported, UsageError
from halloo.net import failures, unix
from halloo.net.connection import INTERNET, Connection
from halloo.net.holders import holder
from halloo.net.waiting import until_readable

if TYPE_CHECKING:  # ssl is slow to import, and only tls:// needs it
    from halloo.net.secure import Host

BACKLOG = 4096  # connections not yet accepted; the kernel takes it down to net.core.somaxconn
Options = list[tuple[int, int, int]]  # level, name and value, as for setsockopt(2)
EVERYWHERE = ("0.0.0.0", "::")
_MISSING = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_SO_ATTACH_FILTER = 26  # of Linux; the socket module does not name it
# A classic BPF program over the TCP header: drop (0) what has SYN and not ACK, take (all of) anything else.
_NO_SYN = (
    (0x30, 0, 0, 13),  # ldb [13], the flags
    (0x54, 0, 0, 0x12),  # and #(SYN | ACK)
    (0x15, 0, 1, 0x02),  # jeq #SYN
    (0x06, 0, 0, 0),  # ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
)
_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
_TRIES = 16  # ports tried until both families have the same one free


class Listener:
    """Sockets that listen, one for each family; `accept` gives the connections, in order of their coming."""

    def __init__(
        self,
        sockets: Sequence[tuple[socket.socket, str]],
        certificates: Certificates | None = None,
        *,
        files: bool = True,
    ) -> None:
        """Take over sockets that listen already, each with its scheme; `certificates` are for clients of `tls://`.

        `files` is whether those of Unix sockets are ours to remove.
        """
        self.sockets = tuple(sock for sock, _ in sockets)
        self.addresses = tuple(_address(sock, scheme) for sock, scheme in sockets)
        self._files = [(at.path, unix.identity(at.path)) for at in self.addresses if files and at.path]
        self.secure = any(at.scheme == "tls" for at in self.addresses)
        self._certificates = certificates or Certificates()
        for sock in self.sockets:
            sock.setblocking(False)

    @cached_property
    def host(self) -> "Host":
        """What shakes hands with clients of `tls://`; without a file, its certificate is made now."""
        from halloo.net.secure import Host  # noqa: PLC0415 - as at the top

        return Host(self._certificates)

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

        Raises TimedOut; Untrusted, Reset and PeerError for a client whose handshake fails.
        """
        while True:
            ready = until_readable(self.sockets, timeout)
            if not ready:
                raise TimedOut(f"nobody connected to {self.address.place} within {timeout:g} seconds")
            for listener in ready:
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

        Between the last accept and the close somebody could otherwise come in, and be reset (socket(7)).
        """
        if not sys.platform.startswith("linux"):
            return
        code = array("B", b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
        program = struct.pack("HP", len(_NO_SYN), code.buffer_info()[0])
        for sock in self.sockets:
            if sock.family in INTERNET:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def release(self) -> None:
        """Stop listening in this process; others may go on."""
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
    certificates: Certificates | None = None,
) -> Listener:
    """Listen on the addresses, on loopback port 8888 when there is none; port 0 takes a free one.

    `family` is 4 or 6 for one alone; `buffer` is how many bytes the kernel may hold of a connection each way, where its
    own choice is too much; `reuse_port` lets others of this user listen on the same port (SO_REUSEPORT).
    `certificates` are for `tls://`, where without them one is made that clients know by the listener's `fingerprint`.
    Raises PortTaken, NotPermitted, NotLocal, AddressError.

    >>> with listen(0) as listener, connect(listener.address) as client, listener.accept() as served:
    ...     client.send(b"hello")
    """
    options = _options(buffer, reuse_port=reuse_port)
    places = [parse(address) for address in addresses or (Address(),)]
    if certificates and all(place.scheme != "tls" for place in places):
        raise UsageError("certificates are for tls://, and no address is", "write tls:// before the host or the port")
    sockets: list[tuple[socket.socket, str]] = []
    try:
        for place in places:
            sockets += [(sock, place.scheme) for sock in _open(place, family, options)]
        listener = Listener(sockets, certificates)
        if certificates:
            listener.host  # noqa: B018 - so that a file that cannot be used is told now
    except BaseException:
        _close(sock for sock, _ in sockets)
        raise
    return listener


def _options(buffer: int | None, *, reuse_port: bool) -> Options:
    """Choose what a listening socket is set to; its connections inherit it (tcp(7), socket(7))."""
    options = [
        # An answer is written as soon as it is there: Nagle and the peer's delayed ACK would hold it for 40 ms.
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        # A peer that vanished without a word would otherwise be held open for ever.
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    if sys.platform == "win32":
        options.append((socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1))
    else:
        # On POSIX it lets a port be taken again at once after a restart; on Windows it would share the port.
        options.append((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
    if buffer:
        # Linux doubles the number for its own bookkeeping, and then stops growing the buffer by itself.
        options += [(socket.SOL_SOCKET, option, buffer // 2) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF)]
    if reuse_port:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise Unsupported("this system has no SO_REUSEPORT", "leave --reuse-port out")
        options.append((socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))
    return options


def _open(address: Address, family: int | None, options: Options) -> list[socket.socket]:
    if address.scheme == "unix":
        return [unix.bound(address, BACKLOG, [option for option in options if option[0] == socket.SOL_SOCKET])]
    if address.scheme not in ("tcp", "tls"):
        raise Unsupported(
            f"{address.scheme}: is not served yet", "use tcp://, tls:// or unix:/path", address=str(address)
        )
    places = [place for place in _places(address) if family in (None, place[0])]
    if not places:
        raise failures.wrong_family(address, family or 0)
    for _ in range(_TRIES if address.port == 0 else 1):
        try:
            return _open_all(address, places, options)
        except PortTaken as error:
            taken = error
    raise taken


def _open_all(address: Address, places: Iterable[tuple[int, str]], options: Options) -> list[socket.socket]:
    """Open a socket for each family, all on one port; a family that this machine lacks is left out."""
    sockets: list[socket.socket] = []
    port, lacking = address.port, None
    for family, host in places:
        try:
            sockets.append(_bound(family, host, port, options))
        except OSError as error:
            if error.errno in _MISSING:
                lacking = error
                continue
            _close(sockets)
            raise _failure(Address("tcp", host, port), error) from error
        port = sockets[0].getsockname()[1]
    if lacking and not sockets:
        raise failures.listening(address, lacking) from lacking
    return sockets


def _places(address: Address) -> list[tuple[int, str]]:
    """Give the families (4, 6) and IP addresses that an address stands for."""
    host = os.environ.get("HALLOO_BIND", "localhost") if address.host is None else address.host
    if host == "localhost":
        return list(zip((4, 6), LOOPBACK, strict=True))
    if host in ("", "::"):
        return list(zip((4, 6), EVERYWHERE, strict=True))
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise failures.not_local(Address("tcp", host, address.port)) from error
    return [(6 if family == socket.AF_INET6 else 4, str(sockaddr[0])) for family, *_, sockaddr in found]


def _bound(family: int, host: str, port: int, options: Options) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM)  # noqa: PLR2004
    try:
        for option in options:
            sock.setsockopt(*option)
        if family == 6:  # noqa: PLR2004 - the IP version
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4])
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _address(sock: socket.socket, scheme: str) -> Address:
    name = sock.getsockname()
    return Address(scheme, *name[:2]) if sock.family in INTERNET else Address("unix", None, 0, name)


def _failure(address: Address, error: OSError) -> Exception:
    if error.errno != errno.EADDRINUSE:
        return failures.listening(address, error)
    found = holder(address.port)
    by = f" by {found[0]} (pid {found[1]})" if found else ""
    another = "9999" if address.port != 9999 else "0"  # noqa: PLR2004 - any other port
    return PortTaken(
        f"port {address.port} on {address.host} is taken{by}",
        f"stop it, or choose another: halloo serve {another}",
        address=str(address),
        errno=error.errno,
    )


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def inherited() -> Listener | None:
    """Take over the sockets that systemd has opened for us, if it has (sd_listen_fds(3))."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return None
    numbers = range(_FIRST_INHERITED, _FIRST_INHERITED + int(os.environ.pop("LISTEN_FDS", "0")))
    sockets = [socket.socket(fileno=number) for number in numbers]
    if not sockets:
        return None
    return Listener([(sock, "tcp" if sock.family in INTERNET else "unix") for sock in sockets], files=False)
