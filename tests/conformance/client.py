"""One TCP connection to a server under test: nothing waits without a limit, and every surprise is a sentence.

Knows sockets and a clock. Knows no server: it talks to an address. Nothing here is halloo's own client, which may share
the mistakes of halloo's server.
"""

import array
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable
from typing import Self

from tests.conformance.cases import Failed
from tests.conformance.payload import difference

SURPLUS = 0.15  # seconds that must stay quiet after all that was expected has come
SOON = 2.0  # seconds within which a small answer has to come
END = 3.0  # seconds within which the end has to come
STUCK = 8.0  # seconds without a byte either way after which a stream has stopped
PATIENCE = 0.5  # seconds without progress after which a server is said to push back
CHUNK = 256 * 1024
_RESETTING = struct.pack("ii", 1, 0)  # struct linger, on and zero: close is a reset
_SHOWN = 64  # bytes


class Client:
    """A connection; blocks in nothing but its own waits."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Callable[[], float],
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        source_port: int | None = None,
    ) -> None:
        """Connect within `timeout` seconds; from a port that may be used again at once, when one is given or 0."""
        self.clock = clock
        self.sent = self.received = 0
        self.sock = unconnected(host, receive_buffer)
        try:
            if source_port is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.sock.bind((host, source_port))
            self.sock.settimeout(timeout)
            self.sock.connect((host, port))
            refuse_oneself(self.sock)
        except OSError as error:
            self.sock.close()
            raise Failed(f"no connection to {host} port {port}: {error}") from error
        except Failed:
            self.sock.close()
            raise
        self.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port at this end."""
        return int(self.sock.getsockname()[1])

    # One step each.

    def give(self, data: bytes | memoryview) -> int:
        """Send what is taken at once, and say how much that was."""
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Failed(f"sending failed after {self._so_far()}: {error}") from error
        self.sent += count
        return count

    def take(self, most: int = CHUNK) -> bytes | None:
        """Receive what is there: empty at the end of the stream, None when there is nothing now."""
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Failed(f"receiving failed after {self._so_far()}: {error}") from error
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
            raise Failed(f"the server took only {count:,} of {len(data):,} bytes within {within:g} s")

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
                raise Failed(f"{count - missing:,} of {count:,} bytes came back, then the end of the stream")
            elif self.clock() >= deadline:
                raise Failed(f"{count - missing:,} of {count:,} bytes came back within {within:g} s")
            else:
                self.wait(deadline - self.clock())
        return b"".join(pieces)

    def expect(self, data: bytes, within: float = SOON, *, surplus: float = SURPLUS) -> None:
        """Receive exactly these bytes, and then nothing more."""
        came = self.receive(len(data), within)
        if came != data:
            raise Failed(difference(data, came, self.received - len(came)))
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
        while (left := deadline - self.clock()) > 0:
            self.wait(left)
            self._nothing(self.take())

    def _nothing(self, piece: bytes | None) -> None:
        if piece:
            raise Failed(f"{len(piece):,} bytes too many came after {self._so_far()}: {piece[:_SHOWN]!r}")
        if piece is not None:
            raise Failed(f"the server ended the stream unasked, after {self._so_far()}")

    def end(self, within: float = END) -> None:
        """See the server's end come, and nothing before it."""
        deadline = self.clock() + within
        while True:
            piece = self.take()
            if piece == b"":
                return
            self._nothing(piece)
            if self.clock() >= deadline:
                raise Failed(f"no end of the stream came within {within:g} s of the client's own")
            self.wait(deadline - self.clock())

    def exchange(
        self, data: bytes, *, begun: int = 0, half_close: bool = False, deaf: float = 0, chop: int = CHUNK
    ) -> None:
        """Send and receive at once, comparing every byte.

        `begun` bytes of the data have been sent already; reading begins after `deaf` seconds; `half_close` sends the
        end after the last byte, and expects the server's; `chop` is the most that one call sends.
        """
        view, done, came, moved = memoryview(data), begun, 0, self.clock()
        listening = self.clock() + deaf
        while came < len(view):
            count = self.give(view[done : done + chop]) if done < len(view) else 0
            if count and done + count == len(view) and half_close:
                self.half_close()
            piece = self.take() if self.clock() >= listening else None
            if piece == b"":
                raise Failed(f"{came:,} of {len(view):,} bytes came back, then the end of the stream")
            if piece and piece != view[came : came + len(piece)]:
                raise Failed(difference(view[came : came + len(piece)], piece, came))
            done, came = done + count, came + len(piece or b"")
            if count or piece:
                moved = self.clock()
                continue
            if self.clock() - max(moved, listening) > STUCK:
                raise Failed(f"stopped: {done:,} of {len(view):,} bytes sent, {came:,} back, then {STUCK:g} s nothing")
            deafness = listening - self.clock()
            self.wait(deafness if deafness > 0 else STUCK, read=deafness <= 0, write=done < len(view))
        if half_close:
            self.end()
        else:
            self.quiet()

    def half_close(self) -> None:
        """Send our end; reading goes on."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Failed(f"the connection was gone at the half-close, after {self._so_far()}: {error}") from error

    def unacknowledged(self) -> int:
        """Count the bytes sent that the server's system has not confirmed (tcp(7))."""
        answer = array.array("i", [0])
        fcntl.ioctl(self.sock, termios.TIOCOUTQ, answer)
        return answer[0]

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
        self.sock.close()

    def close(self) -> None:
        """Close; with something unread that is a reset too."""
        self.sock.close()

    def _so_far(self) -> str:
        return f"{self.sent:,} bytes sent and {self.received:,} received"


def unconnected(host: str, receive_buffer: int | None = None) -> socket.socket:
    """Make a socket of the host's family."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return sock


def refuse_oneself(sock: socket.socket) -> None:
    """Refuse a connection to oneself, the perfect echo: Linux makes one where nobody listens on an ephemeral port."""
    if sock.getsockname() == sock.getpeername():
        raise Failed("the connection led to itself: nothing listens there")
