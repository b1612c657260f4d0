"""One stream connection to a server under test: every wait has a timeout, every deviation raises `Failed`.

Uses sockets and a clock. Shares no code with halloo's own client, which may have the same mistakes as halloo's server;
only the TLS handshake comes from `halloo._net`.
"""

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self, cast

from halloo._check import sockets
from halloo._check.case import Evidence, Failed, context
from halloo._check.payload import difference, kinds, quoted, shortfall
from halloo._check.processes import is_closed_by_peer
from halloo._check.sockets import check_not_self_connected, place_of, raise_if_local, unconnected_socket
from halloo._net.readiness import deadline_ns, run_steps

QUIET_TIME = 0.15  # seconds of silence required after the complete reply
REPLY_TIMEOUT = 2.0  # seconds within which a small reply has to arrive
EOF_TIMEOUT = 3.0  # seconds within which the end of the stream has to arrive
STALL_TIMEOUT = 8.0  # seconds without a byte in either direction after which a stream has stalled
SEND_TIME = 5.0  # seconds of sending in a stream
PUSHBACK_TIME = 0.5  # seconds without progress after which a server applies backpressure
CHUNK_SIZE = 256 * 1024
ROUND_TRIPS = 4  # that a limit has to leave room for, as segments may be lost
MAX_RTT = 2.0  # seconds that count as a round trip
MAX_FOLLOWING = 64 * 1024  # bytes read after a difference


class StreamClient:
    """A non-blocking connection; only its methods wait, with a timeout."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        clock: Callable[[], float],
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        source_port: int | None = None,
        secure: bool = False,
        frees_port: bool = False,
        far: bool = False,
        expected: Callable[[bytes], bytes] = bytes,
        message: Callable[[bytes], bytes] = bytes,
        on_progress: Callable[[], object] | None = None,
    ) -> None:
        """Connect to a host and port, or a path, within `timeout` seconds.

        `source_port` is the local port, even if it is in TIME-WAIT; `secure` is for TLS, with any certificate;
        `frees_port` avoids TIME-WAIT at the server's port; `expected` maps the bytes sent to the reply; `message` maps
        those of an echo to a message of the protocol. The limits of a server that may be `far` grow with its round
        trips. `on_progress` is called whenever bytes have been sent or received.
        """
        self.clock = clock
        self.expected, self.message = expected, message
        self._frees_port, self.far = frees_port, far
        self._on_progress = on_progress
        self.sent = self.received = 0
        self._asked = b""  # what the latest reply was expected to
        self.rtt = 0.0  # seconds of a round trip to a server given by address
        self.raw = unconnected_socket(address, receive_buffer)
        _, sockaddr = place_of(address)
        began = clock()
        try:
            if source_port is not None:
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.raw.bind((sockaddr[0], source_port, *sockaddr[2:]))
            self.raw.settimeout(timeout)
            self.raw.connect(sockaddr)
            check_not_self_connected(self.raw)
            self.raw.setblocking(False)
            self.rtt = min(clock() - began, MAX_RTT) if far else 0.0
            self.sock = _wrap_tls(self.raw, timeout) if secure else self.raw
        except (OSError, Failed) as error:
            self.raw.close()
            if isinstance(error, Failed):
                raise
            if not source_port:  # otherwise the case has chosen the port
                raise_if_local(error, self.raw.family, address)
            where = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
            raise Failed(f"no connection to {where}: {error}", pattern="refused") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what the socket accepts without blocking; return the number of bytes."""
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._reset("sending", error) from error
        self._count(count, 0)
        return count

    def receive_some(self, limit: int = CHUNK_SIZE) -> bytes | None:
        """Receive what is available: empty at the end of the stream, None if there is nothing yet."""
        try:
            data = self.sock.recv(limit)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._reset("receiving", error) from error
        self._count(0, len(data))
        return data

    def _count(self, sent: int, received: int) -> None:
        self.sent, self.received = self.sent + sent, self.received + received
        if self._on_progress and (sent or received):
            self._on_progress()

    def receive_part(self, expected: bytes | memoryview, offset: int) -> int | None:
        """Receive what is available and compare it with the expected bytes at an offset.

        Returns their number: 0 at the end of the stream, None if there is nothing yet.
        """
        piece = self.receive_some()
        if piece and piece != expected[offset : offset + len(piece)]:
            raise self._mismatch(expected, bytes(expected[:offset]) + piece, 0)
        return None if piece is None else len(piece)

    def wait(self, seconds: float, *, write: bool = False, read: bool = True) -> None:
        """Wait until the socket is readable or writable, as requested."""
        poll = select.poll()
        poll.register(self.sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        poll.poll(max(seconds, 0) * 1000)

    def send(self, data: bytes, within: float = STALL_TIMEOUT) -> None:
        if (count := self.send_until_blocked(data, within)) < len(data):
            fact = f"the server accepted only {count:,} of {len(data):,} bytes within {within:g} s"
            raise Failed(fact, pattern="stuck")

    def send_until_blocked(self, data: bytes, pushback_time: float = PUSHBACK_TIME) -> int:
        """Send without reading until nothing is accepted for `pushback_time`; return the number of bytes."""
        view, done, last_progress = memoryview(data), 0, self.clock()
        while done < len(view):
            if count := self.send_some(view[done : done + CHUNK_SIZE]):
                done, last_progress = done + count, self.clock()
            elif self.clock() - last_progress >= pushback_time:
                break
            else:
                self.wait(last_progress + pushback_time - self.clock(), read=False, write=True)
        return done

    def receive(self, count: int, within: float = REPLY_TIMEOUT) -> bytes:
        received, ended = self._receive(count, within)
        if len(received) < count:
            raise self._short(b"", len(received), count, within, ended=ended)
        return received

    def _receive(self, count: int, within: float) -> tuple[bytes, bool]:
        """Receive so many bytes, or those until the stream ends or nothing comes for `within` seconds."""
        received, within = bytearray(), self.allowed(within)
        deadline = self.clock() + within
        while len(received) < count:
            piece = self.receive_some(count - len(received))
            if piece == b"":
                return bytes(received), True
            if piece:
                received += piece
                deadline = self.clock() + within
            elif (left := deadline - self.clock()) <= 0:
                break
            else:
                self.wait(left)
        return bytes(received), False

    def allowed(self, seconds: float) -> float:
        """Return a limit for a server at this distance."""
        return seconds + ROUND_TRIPS * self.rtt

    def _short(self, expected: bytes | memoryview, done: int, count: int, within: float, *, ended: bool) -> Failed:
        """Describe a reply that ends, or stalls, before its last byte."""
        within = self.allowed(within)
        end = "the end of the stream" if ended else f"nothing for {within:g} s"
        words = ("cut",) if ended else ("short",) if done else ("silent",)
        pattern = " ".join((*words, *shortfall(expected, done)))
        if not ended and not done:
            return Failed(f"0 of {count:,} bytes came back within {within:g} s", pattern=pattern)
        return Failed(f"{done:,} of {count:,} bytes came back, then {end}", pattern=pattern)

    def expect(self, data: bytes, within: float = REPLY_TIMEOUT, *, quiet_time: float = QUIET_TIME) -> None:
        """Check that the reply to the data is received, and nothing else for `quiet_time` seconds."""
        self.expect_rest(data, b"", within, quiet_time=quiet_time)

    def expect_rest(
        self, data: bytes, received: bytes, within: float = REPLY_TIMEOUT, *, quiet_time: float = QUIET_TIME
    ) -> None:
        """Check the whole reply to the data, of which the first bytes have been received."""
        expected = self.expected(data)
        base, self._asked = self.received - len(received), data
        more, ended = self._receive(len(expected) - len(received), within)
        received += more
        with context(f"sent {quoted(data)}"):
            if received != expected[: len(received)]:
                raise self._mismatch(expected, received, base)
            if len(received) < len(expected):
                raise self._short(expected, len(received), len(expected), within, ended=ended)
        if quiet_time:
            self.expect_silence(quiet_time)

    def _mismatch(self, expected: bytes | memoryview, received: bytes, base: int) -> Failed:
        """Describe a difference; what follows it tells inserted bytes from changed ones."""
        following, deadline = bytearray(received), self.clock() + QUIET_TIME
        with suppress(Failed):  # a reset is not the first difference
            while len(following) < len(received) + MAX_FOLLOWING and (left := deadline - self.clock()) > 0:
                self.wait(left)
                if (piece := self.receive_some()) == b"":
                    break
                following += piece or b""
        return mismatch(expected, bytes(following), base)

    def roundtrip(self, data: bytes, within: float = REPLY_TIMEOUT, *, quiet_time: float = QUIET_TIME) -> float:
        """Send the bytes and expect the reply; return the seconds that it took."""
        began, data = self.clock(), self.message(data)
        self.send(data, within)
        self.expect(data, within, quiet_time=0)
        elapsed = self.clock() - began
        if self.far:  # a connection through a relay is accepted before it reaches the server
            self.rtt = min(max(self.rtt, elapsed), MAX_RTT)
        if quiet_time:
            self.expect_silence(quiet_time)
        return elapsed

    def expect_silence(self, seconds: float = QUIET_TIME) -> None:
        """Check that nothing is received for so long, not even the end of the stream."""
        if self._ends(seconds):
            raise Failed(f"the server ended the stream first, after {self._progress()}", pattern="cut")

    def expect_eof(self, within: float = EOF_TIMEOUT) -> None:
        """Check that the server ends the stream, and sends nothing before that."""
        within = self.allowed(within)
        if not self._ends(within):
            fact = f"the server did not end the stream within {within:g} s of the client's half-close"
            raise Failed(fact, pattern="open")

    def _ends(self, within: float) -> bool:
        deadline = self.clock() + within
        while (piece := self.receive_some()) is None:  # before the wait: TLS may have decrypted it already
            if (left := deadline - self.clock()) <= 0:
                return False
            self.wait(left)
        if piece:
            raise self._surplus(piece)
        return True

    def _surplus(self, piece: bytes) -> Failed:
        count = "1 unexpected byte was" if len(piece) == 1 else f"{len(piece):,} unexpected bytes were"
        fact = f"{count} received after {self._progress()}: {quoted(piece)}"
        reply = self.expected(self._asked)
        repeated = bool(reply) and (piece.startswith(reply) or reply.startswith(piece))
        words = ("again",) if repeated else ("inserted", *kinds(piece), *(() if self.sent else ("first",)))
        return Failed(fact, pattern=" ".join(("surplus", *words)))

    def _reset(self, action: str, error: OSError) -> Failed:
        words = ("reset", *shortfall(self._asked, self.received))
        return Failed(f"{action} failed after {self._progress()}: {error}", pattern=" ".join(words))

    def duplex(
        self,
        data: bytes,
        *,
        half_close: bool = False,
        read_delay: float = 0,
        chunk_size: int = CHUNK_SIZE,
        then_silence: bool = True,
    ) -> None:
        """Send and receive at the same time, comparing every byte.

        Reading starts after `read_delay` seconds; `half_close` ends the stream after the last byte, and expects the
        server to do the same; `chunk_size` is the maximum for one send; `then_silence` checks that nothing else comes.
        What has not been sent after 5 s is left out: the verdict must not depend on the speed of the machine.
        """
        view, sent, received, began = memoryview(data), 0, 0, self.clock()
        self._asked, closing = data, half_close
        expected, read_start, last_progress = memoryview(self.expected(data)), began + read_delay, began
        while received < len(expected) or closing:
            if self.clock() - began > SEND_TIME and sent < len(view):
                view = view[: data.find(b"\n", max(sent - 1, 0)) + 1 or None]
                expected = memoryview(self.expected(bytes(view)))
            if closing and sent == len(view):
                self.half_close()
                closing = False
                continue
            count = self.send_some(view[sent : sent + chunk_size]) if sent < len(view) else 0
            piece = self.receive_some() if self.clock() >= read_start else None  # T49 sends single bytes
            if piece == b"":
                raise self._short(expected, received, len(expected), STALL_TIMEOUT, ended=True)
            if piece and piece != expected[received : received + len(piece)]:
                raise self._mismatch(expected, bytes(expected[:received]) + piece, 0)
            sent, received = sent + count, received + len(piece or b"")
            if count or piece:
                last_progress = self.clock()
                continue
            if self.clock() - max(last_progress, read_start) > STALL_TIMEOUT:
                fact = f"stalled for {STALL_TIMEOUT:g} s: {sent:,} of {len(view):,} bytes sent, {received:,} back"
                words = ("short" if received else "silent",) if sent == len(view) else ("stuck",)
                raise Failed(fact, pattern=" ".join((*words, *shortfall(expected, received))))
            delay_left = read_start - self.clock()
            self.wait(delay_left if delay_left > 0 else STALL_TIMEOUT, read=delay_left <= 0, write=sent < len(view))
        if half_close:
            self.expect_eof()
        elif then_silence:
            self.expect_silence()

    def half_close(self) -> None:
        """Shut down the sending side; reading continues."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return  # no room for close_notify now: it is sent before the next read
        except OSError as error:
            fact = f"the half-close failed after {self._progress()}: {error}"
            raise Failed(fact, pattern="reset") from error

    def reset(self) -> None:
        sockets.reset(self.raw)

    def close(self) -> None:
        """Close; if there are unread bytes, this is a reset too.

        A server that has closed first would keep its port in TIME-WAIT, for which its next start might have to wait: a
        reset of a connection that no process has any more ends that state unnoticed.
        """
        if self._frees_port and is_closed_by_peer(self.raw):
            self.reset()
        else:
            self.sock.close()

    def _progress(self) -> str:
        return f"{self.sent:,} bytes sent and {self.received:,} received"


def mismatch(expected: bytes | memoryview, received: bytes | memoryview, base: int = 0) -> Failed:
    """Describe how the received bytes differ; both arguments begin at the offset `base` of the stream."""
    text, pattern, index = difference(expected, received, base)
    return Failed(text, pattern=pattern, evidence=Evidence.at(index, expected, received, base))


def _wrap_tls(sock: socket.socket, timeout: float) -> socket.socket:
    from halloo._net.tls import securing  # noqa: PLC0415 - ssl is slow to import, and only TLS needs it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # identity is not checked
    steps = securing(sock, context, until_ns=deadline_ns(timeout), server_hostname="localhost")
    return cast("socket.socket", run_steps(steps))  # it has the same methods
