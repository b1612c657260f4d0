"""Datagrams to and from a server under test: every wait has a timeout, every deviation raises `Failed`.

Uses a socket and a clock. The socket is not connected, so that a reply from a wrong address is detected.
"""

import errno
import select
import socket
from collections.abc import Callable
from typing import Self

from halloo._check.case import Evidence, Failed
from halloo._check.payload import common_length
from halloo._check.server.stream_client import QUIET_TIME, REPLY_TIMEOUT
from halloo._check.sockets import place_of, raise_if_local

MAX_DATAGRAM = 65507  # bytes
RECEIVE_BUFFER = 4 << 20  # bytes of replies that the kernel may queue
_MAX_QUOTED = 64


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
    ) -> None:
        self.clock = clock
        self.expected, self.message = expected, message
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
            return
        raise Failed(f"no datagram could be sent for {REPLY_TIMEOUT:g} s")

    def receive_from(self, within: float = 0) -> tuple[bytes, tuple[str, int]] | None:
        """Receive a datagram and its sender; None if none arrives."""
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
                return data, peer[:2]

    def expect(self, data: bytes, within: float = REPLY_TIMEOUT) -> None:
        """Check that the next datagram is the whole reply to one."""
        if (received := self.receive_from(within)) is None:
            raise Failed(f"no reply within {within:g} s", pattern="silent")
        self.check_reply(data, received[0])

    def roundtrip(self, data: bytes, within: float = REPLY_TIMEOUT, *, quiet_time: float = QUIET_TIME) -> float:
        """Send a datagram and expect exactly one whole reply; return the seconds that it took."""
        began, data = self.clock(), self.message(data)
        self.send(data)
        if (received := self.receive_from(within)) is None:
            raise Failed(f"sent {len(data):,} bytes: no reply within {within:g} s", pattern="silent")
        elapsed = self.clock() - began
        self.check_reply(data, received[0])
        if quiet_time:
            self.expect_silence(quiet_time)
        return elapsed

    def check_reply(self, sent: bytes, received: bytes) -> None:
        expected = self.expected(sent)
        if received == expected:
            return
        offset = common_length(expected, received)
        longer = "surplus" if received.startswith(expected) else "changed"
        pattern = "short" if expected.startswith(received) else longer
        fact = f"a datagram of {len(sent):,} bytes came back with {len(received):,}"
        if pattern == "changed":
            fact += f", different from offset {offset:,} on"
        raise Failed(fact, pattern=pattern, evidence=Evidence.at(offset, expected, received))

    def expect_silence(self, seconds: float = QUIET_TIME) -> None:
        """Check that nothing more is received for so long."""
        if received := self.receive_from(seconds):
            fact = f"an unexpected datagram was received, of {len(received[0]):,} bytes: {received[0][:_MAX_QUOTED]!r}"
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
