"""Datagrams to and from a server under test: every wait has a timeout, every deviation raises `Failed`.

Uses a socket and a clock. The socket is not connected, so that a reply from a wrong address is detected.
"""

import errno
import select
import socket
from collections import Counter
from collections.abc import Callable
from typing import Self

from halloo._check.case import Evidence, Failed
from halloo._check.payload import common_length, difference, kinds, quoted, shortfall
from halloo._check.server.stream_client import QUIET_TIME, REPLY_TIMEOUT
from halloo._check.sockets import place_of, raise_if_local

MAX_DATAGRAM = 65507  # bytes
RECEIVE_BUFFER = 4 << 20  # bytes of replies that the kernel may queue


class UdpClient:
    """An unconnected UDP socket."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        clock: Callable[[], float],
        source: tuple[str, int] = ("", 0),
        expected: Callable[[bytes], bytes] = bytes,
        message: Callable[[bytes], bytes] = bytes,
        on_progress: Callable[[], object] | None = None,
        waits: tuple[float, ...] = (),
    ) -> None:
        """Open a socket; `waits` are the seconds to wait for a reply before each time that a datagram is sent again.

        They are for paths and servers that lose datagrams; none means that it is sent once.
        """
        self.clock = clock
        self.expected, self.message = expected, message
        self.waits = waits
        self._on_progress = on_progress
        self.sent = self.answered = 0
        self._due = Counter[bytes]()  # replies to what was sent that have not been received
        family, self.address = place_of(address)
        try:
            self.sock = _bound(family, source, address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL and not source[1]:  # neither the source's host nor its port
                raise_if_local(error, family, address)
            raise Failed(f"no socket from {source}: {error}") from error
        self.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send one datagram; waits if a slow link has no room for it."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        while poll.poll(REPLY_TIMEOUT * 1000):
            try:
                self.sock.sendto(data, self.address)
            except BlockingIOError:
                continue
            except ConnectionError as error:
                raise Failed(f"nothing is bound to the port: {error}", pattern="refused") from error
            except OSError as error:
                raise Failed(f"a datagram of {len(data):,} bytes could not be sent: {error.strerror}") from error
            self.sent += 1
            self._due[self.expected(data)] += 1
            return
        raise Failed(f"no datagram could be sent for {REPLY_TIMEOUT:g} s")

    def receive_from(self, within: float = 0) -> tuple[bytes, tuple[str, int]] | None:
        """Receive a datagram and its sender; None if none arrives."""
        found = self._receive(within)
        return found and found[:2]

    def _receive(self, within: float) -> tuple[bytes, tuple[str, int], bool] | None:
        """Receive a datagram, its sender, and whether it is a reply that was due."""
        poll, deadline = select.poll(), self.clock() + within
        poll.register(self.sock, select.POLLIN)
        while True:
            try:
                data, peer = self.sock.recvfrom(MAX_DATAGRAM + 1)
            except BlockingIOError:
                if (left := deadline - self.clock()) <= 0:
                    return None
                poll.poll(left * 1000)
            except ConnectionError as error:
                raise Failed(f"nothing is bound to the port: {error}", pattern="refused") from error
            else:
                if self._on_progress:
                    self._on_progress()
                if due := self._due[data] > 0:
                    self._due[data] -= 1
                    self.answered += 1
                return data, peer[:2], due

    def ask(self, data: bytes, *, attempts: int = 1) -> bytes | None:
        """Send a datagram, up to `attempts` times, or more if datagrams may be lost; return the reply, if any."""
        self.send(data)
        return self._await_reply(data, self.waits or (REPLY_TIMEOUT,) * attempts)

    def _await_reply(self, data: bytes, waits: tuple[float, ...]) -> bytes | None:
        """Wait for the reply to a datagram that was sent, and send it again after each wait but the last."""
        for number, seconds in enumerate(waits):
            if number:
                self.send(data)
            deadline = self.clock() + seconds
            while found := self._receive(deadline - self.clock()):
                reply, _, due = found
                if reply == self.expected(data) or not due:
                    return reply  # otherwise a late one to an earlier datagram
        return None

    def expect(self, data: bytes, within: float = REPLY_TIMEOUT) -> None:
        """Check that the next datagram is the whole reply to one that was sent."""
        waits = self.waits or (within,)
        if (reply := self._await_reply(data, waits)) is None:
            count = "no reply" if len(waits) == 1 else f"no reply to any of {len(waits)} datagrams"
            raise Failed(f"sent {len(data):,} bytes: {count} within {sum(waits):g} s", pattern="silent")
        self.check_reply(data, reply)

    def roundtrip(self, data: bytes, within: float = REPLY_TIMEOUT, *, quiet_time: float = QUIET_TIME) -> float:
        """Send a datagram and expect exactly one whole reply; return the seconds that it took."""
        began, data = self.clock(), self.message(data)
        self.send(data)
        self.expect(data, within)
        elapsed = self.clock() - began
        if quiet_time:
            self.expect_silence(quiet_time)
        return elapsed

    def check_reply(self, sent: bytes, received: bytes) -> None:
        expected = self.expected(sent)
        if received == expected:
            return
        offset = common_length(expected, received)
        fact = f"a datagram of {len(sent):,} bytes came back with {len(received):,}"
        if expected.startswith(received):
            words = ("short", *shortfall(expected, len(received)))
        elif received.startswith(expected):
            words = ("surplus", *kinds(received[len(expected) :]))
        else:
            words = ("changed", *difference(expected, received)[1].removeprefix("changed").split())
            fact += f", different from offset {offset:,} on"
        raise Failed(fact, pattern=" ".join(words), evidence=Evidence.at(offset, expected, received))

    def expect_silence(self, seconds: float = QUIET_TIME) -> None:
        """Check that nothing more is received for so long, but late replies to datagrams that were sent again."""
        deadline = self.clock() + seconds
        while found := self._receive(deadline - self.clock()):
            data, _, due = found
            if not due:
                fact = f"an unexpected datagram was received, of {len(data):,} bytes: {quoted(data)}"
                raise Failed(fact, pattern="surplus")


def _bound(family: int, source: tuple[str, int], target: tuple[str, int]) -> socket.socket:
    """Open a socket on another port than the target's: if nothing is bound there, it would receive its own datagrams.

    It is bound now: for one without a port, sending would fail without end once all ports are in use (EAGAIN).
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind(source)
        if not source[1] and sock.getsockname()[1] == target[1]:
            other = _bound(family, source, target)  # this socket still holds the port
            sock.close()
            return other
    except OSError:
        sock.close()
        raise
    return sock
