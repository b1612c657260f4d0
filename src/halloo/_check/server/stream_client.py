"""One connection to a server under test: nothing waits without a limit, and every surprise is a sentence.

Knows sockets and a clock. Knows no server: it talks to an address. Nothing here is halloo's own client, which may share
the mistakes of halloo's server; for TLS alone it borrows the socket that shakes hands.
"""

import array
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Self, cast

from halloo._check.case import Evidence, Failed
from halloo._check.payload import difference
from halloo._net.readiness import finished, moment

SURPLUS = 0.15  # seconds that must stay quiet after all that was expected has come
SOON = 2.0  # seconds within which a small answer has to come
END = 3.0  # seconds within which the end has to come
STUCK = 8.0  # seconds without a byte either way after which a stream has stopped
PATIENCE = 0.5  # seconds without progress after which a server is said to push back
CHUNK = 256 * 1024
SEGMENT = 1460  # bytes
_RESETTING = struct.pack("ii", 1, 0)  # struct linger, on and zero: close is a reset
_SHOWN = 64  # bytes


class StreamClient:
    """A connection; blocks in nothing but its own waits."""

    def __init__(
        self,
        place: tuple[str, int] | str,
        *,
        clock: Callable[[], float],
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        source_port: int | None = None,
        secure: bool = False,
        expected: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Connect to a host and port, or a path, within `timeout` seconds.

        `source_port` is the port to come from, even if it was in use a moment ago; `secure` is for TLS, with whatever
        certificate; `expected` says what has to come back for what was sent.
        """
        self.clock = clock
        self.expected = expected
        self.sent = self.received = 0
        self.raw = unconnected(place, receive_buffer)
        try:
            if source_port is not None:
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.raw.bind((place[0], source_port))
            self.raw.settimeout(timeout)
            self.raw.connect(place)
            refuse_oneself(self.raw)
            self.raw.setblocking(False)
            self.sock = _secured(self.raw, timeout) if secure else self.raw
        except OSError as error:
            self.raw.close()
            where = place if isinstance(place, str) else f"{place[0]} port {place[1]}"
            raise Failed(f"no connection to {where}: {error}", pattern="refused") from error
        except Failed:
            self.raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port at this end."""
        return int(self.raw.getsockname()[1])

    # One step each.

    def give(self, data: bytes | memoryview) -> int:
        """Send what is taken at once, and say how much that was."""
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Failed(f"sending failed after {self._so_far()}: {error}", pattern="reset") from error
        self.sent += count
        return count

    def take(self, most: int = CHUNK) -> bytes | None:
        """Receive what is there: empty at the end of the stream, None when there is nothing now."""
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Failed(f"receiving failed after {self._so_far()}: {error}", pattern="reset") from error
        self.received += len(data)
        return data

    def wait(self, seconds: float, *, write: bool = False, read: bool = True) -> None:
        """Wait until there is something to read, or room to write."""
        poll = select.poll()
        poll.register(self.sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        poll.poll(max(seconds, 0) * 1000)

    # What cases are made of.

    def send(self, data: bytes, within: float = STUCK) -> None:
        """Send all of it, without reading."""
        if (count := self.push(data, within)) < len(data):
            raise Failed(f"the server took only {count:,} of {len(data):,} bytes within {within:g} s", pattern="stuck")

    def push(self, data: bytes, patience: float = PATIENCE) -> int:
        """Send without reading until nothing more was taken for so long; say how much was."""
        view, done, moved = memoryview(data), 0, self.clock()
        while done < len(view):
            if count := self.give(view[done : done + CHUNK]):
                done, moved = done + count, self.clock()
            elif self.clock() - moved >= patience:
                break
            else:
                self.wait(moved + patience - self.clock(), read=False, write=True)
        return done

    def receive(self, count: int, within: float = SOON) -> bytes:
        """Receive exactly so many bytes."""
        pieces, missing, deadline = [], count, self.clock() + within
        while missing:
            piece = self.take(missing)
            if piece:
                pieces.append(piece)
                missing -= len(piece)
            elif piece is not None:
                came = f"{count - missing:,} of {count:,} bytes came back"
                raise Failed(f"{came}, then the end of the stream", pattern="cut")
            elif self.clock() >= deadline:
                came = f"{count - missing:,} of {count:,} bytes came back"
                raise Failed(f"{came} within {within:g} s", pattern="short" if missing < count else "silent")
            else:
                self.wait(deadline - self.clock())
        return b"".join(pieces)

    def skip_line(self, within: float = SOON) -> None:
        """Receive a line: the greeting."""
        while self.receive(1, within) != b"\n":
            pass

    def expect(self, data: bytes, within: float = SOON, *, surplus: float = SURPLUS) -> None:
        """Receive exactly what these bytes should bring back, and then nothing more."""
        wanted = self.expected(data)
        try:
            came = self.receive(len(wanted), within)
        except Failed as failure:
            raise failure.within(f"sent {_shown(data)}") from failure
        if came != wanted:
            raise differs(wanted, came, self.received - len(came))
        if surplus:
            self.quiet(surplus)

    def ask(self, data: bytes, within: float = SOON, *, surplus: float = SURPLUS) -> float:
        """Send the bytes, expect them back, and say how many seconds that took."""
        began = self.clock()
        self.send(data, within)
        self.expect(data, within, surplus=0)
        took = self.clock() - began
        if surplus:
            self.quiet(surplus)
        return took

    def quiet(self, seconds: float = SURPLUS) -> None:
        """See that nothing comes for so long, not even the end."""
        deadline = self.clock() + seconds
        while True:
            self._nothing(self.take())  # before the wait: over TLS it may be decrypted already
            if (left := deadline - self.clock()) <= 0:
                return
            self.wait(left)

    def _nothing(self, piece: bytes | None) -> None:
        if piece:
            fact = f"{len(piece):,} bytes too many came after {self._so_far()}: {_shown(piece)}"
            raise Failed(fact, pattern="surplus")
        if piece is not None:
            raise Failed(f"the server ended the stream unasked, after {self._so_far()}", pattern="cut")

    def end(self, within: float = END) -> None:
        """See the server's end come, and nothing before it."""
        deadline = self.clock() + within
        while True:
            piece = self.take()
            if piece == b"":
                return
            self._nothing(piece)
            if self.clock() >= deadline:
                raise Failed(f"no end of the stream came within {within:g} s of the client's own", pattern="open")
            self.wait(deadline - self.clock())

    def exchange(
        self,
        data: bytes,
        *,
        begun: int = 0,
        half_close: bool = False,
        deaf: float = 0,
        chop: int = CHUNK,
        quiet: bool = True,
    ) -> None:
        """Send and receive at once, comparing every byte.

        `begun` bytes of the data have been sent already; reading begins after `deaf` seconds; `half_close` sends the
        end after the last byte, and expects the server's; `chop` is the most that one call sends; `quiet` is whether
        nothing more may come.
        """
        view, done, came, moved = memoryview(data), begun, 0, self.clock()
        wanted, listening = memoryview(self.expected(data)), self.clock() + deaf
        while came < len(wanted):
            count = self.give(view[done : done + chop]) if done < len(view) else 0
            if count and done + count == len(view) and half_close:
                self.half_close()
            piece = self.take() if self.clock() >= listening else None
            if piece == b"":
                raise Failed(f"{came:,} of {len(view):,} bytes came back, then the end of the stream", pattern="cut")
            if piece and piece != wanted[came : came + len(piece)]:
                raise differs(wanted[came : came + len(piece)], piece, came)
            done, came = done + count, came + len(piece or b"")
            if count or piece:
                moved = self.clock()
                continue
            if self.clock() - max(moved, listening) > STUCK:
                fact = f"stopped: {done:,} of {len(view):,} bytes sent, {came:,} back, then {STUCK:g} s nothing"
                raise Failed(fact, pattern="short" if done == len(view) else "stuck")
            deafness = listening - self.clock()
            self.wait(deafness if deafness > 0 else STUCK, read=deafness <= 0, write=done < len(view))
        if half_close:
            self.end()
        elif quiet:
            self.quiet()

    def half_close(self) -> None:
        """Send our end; reading goes on."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return  # TLS has no room for its goodbye now: it goes before the next read
        except OSError as error:
            fact = f"the connection was gone at the half-close, after {self._so_far()}: {error}"
            raise Failed(fact, pattern="reset") from error

    def unacknowledged(self) -> int:
        """Count the bytes sent that the server's system has not confirmed (tcp(7))."""
        answer = array.array("i", [0])
        fcntl.ioctl(self.raw, termios.TIOCOUTQ, answer)
        return answer[0]

    def reset(self) -> None:
        """Close with a reset."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
        self.raw.close()

    def close(self) -> None:
        """Close; with something unread that is a reset too."""
        self.sock.close()

    def _so_far(self) -> str:
        return f"{self.sent:,} bytes sent and {self.received:,} received"


def unconnected(place: tuple[str, int] | str, receive_buffer: int | None = None) -> socket.socket:
    """Make a socket of the family of a place; one that will read little takes segments as an Ethernet has them.

    To those of 64 KiB that loopback has, systems give megabytes of buffers before a server's send blocks.
    """
    if isinstance(place, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket(socket.getaddrinfo(place[0], place[1], type=socket.SOCK_STREAM)[0][0])
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    return sock


def refuse_oneself(sock: socket.socket) -> None:
    """Refuse a connection to oneself, the perfect echo: Linux makes one where nobody listens on an ephemeral port."""
    if sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
        raise Failed("the connection led to itself: nothing listens there", pattern="refused")


def differs(wanted: bytes | memoryview, came: bytes | memoryview, base: int = 0) -> Failed:
    """Say how what came differs from what was wanted; both begin at the offset `base` of the stream."""
    text, pattern, place = difference(wanted, came, base)
    return Failed(text, pattern=pattern, evidence=Evidence.at(place, wanted, came, base))


def _secured(sock: socket.socket, timeout: float) -> socket.socket:
    from halloo._net.tls import securing  # noqa: PLC0415 - ssl is slow to import, and only TLS needs it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who it is, is not the question here
    steps = securing(sock, context, until_ns=moment(timeout), server_hostname="localhost")
    return cast("socket.socket", finished(steps))  # of its shape


def _shown(data: bytes) -> str:
    return repr(data[:_SHOWN]) + ("..." if len(data) > _SHOWN else "")
