"""Datagrams to and from a server under test: nothing waits without a limit, and every surprise is a sentence.

Knows a socket and a clock. It takes datagrams from anybody, so that an answer from the wrong address is seen.
"""

import select
import socket
from collections.abc import Callable
from typing import Self

from halloo._check.case import Evidence, Failed

SURPLUS = 0.15  # seconds that must stay quiet after the answer
SOON = 2.0  # seconds within which an answer has to come
MOST = 65507  # bytes
QUEUE = 4 << 20  # bytes of answers that may wait
_SHOWN = 64


class UdpClient:
    """A client's socket, not connected."""

    def __init__(
        self,
        place: tuple[str, int],
        *,
        clock: Callable[[], float],
        source: tuple[str, int] = ("", 0),
        expected: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Send to a host and port, from `source`."""
        self.clock = clock
        self.expected = expected
        family, *_, name = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
        self.place = name[0], int(name[1])
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
            if any(source):
                self.sock.bind(source)
        except OSError as error:
            self.sock.close()
            raise Failed(f"no socket from {source}: {error}") from error
        self.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send one datagram; a slow link may take a while to have room for it."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        while poll.poll(SOON * 1000):
            try:
                self.sock.sendto(data, self.place)
            except BlockingIOError:
                continue
            except ConnectionError as error:
                raise Failed(f"nobody has the port: {error}", pattern="refused") from error
            except OSError as error:
                raise Failed(f"a datagram of {len(data):,} bytes could not be sent: {error.strerror}") from error
            return
        raise Failed(f"the network has taken no datagram for {SOON:g} s")

    def take(self, within: float = 0) -> tuple[bytes, tuple[str, int]] | None:
        """Receive one datagram and its sender, None when none comes in time."""
        poll, deadline = select.poll(), self.clock() + within
        poll.register(self.sock, select.POLLIN)
        while True:
            try:
                data, peer = self.sock.recvfrom(MOST + 1)
            except BlockingIOError:
                if (left := deadline - self.clock()) <= 0:
                    return None
                poll.poll(left * 1000)
            except ConnectionError as error:
                raise Failed(f"nobody has the port: {error}", pattern="refused") from error
            else:
                return data, peer[:2]

    def receive(self, within: float = SOON) -> bytes:
        """Receive one answer."""
        if (found := self.take(within)) is None:
            raise Failed(f"no answer came within {within:g} s", pattern="silent")
        return found[0]

    def ask(self, data: bytes, within: float = SOON, *, surplus: float = SURPLUS) -> float:
        """Send a datagram, expect it back whole and once, and say how many seconds that took."""
        began = self.clock()
        self.send(data)
        try:
            came = self.receive(within)
        except Failed as failure:
            raise failure.within(f"sent {len(data):,} bytes") from failure
        took = self.clock() - began
        self.compare(data, came)
        if surplus:
            self.quiet(surplus)
        return took

    def compare(self, sent: bytes, came: bytes) -> None:
        """See that what came is what it has to be."""
        wanted = self.expected(sent)
        if came == wanted:
            return
        place = next(
            (at for at, (a, b) in enumerate(zip(wanted, came, strict=False)) if a != b), min(len(wanted), len(came))
        )
        pattern = "short" if wanted.startswith(came) else "surplus" if came.startswith(wanted) else "changed"
        fact = f"a datagram of {len(sent):,} bytes came back with {len(came):,}"
        if pattern == "changed":
            fact += f", other ones from offset {place:,} on"
        raise Failed(fact, pattern=pattern, evidence=Evidence.at(place, wanted, came))

    def quiet(self, seconds: float = SURPLUS) -> None:
        """See that nothing more comes for so long."""
        if found := self.take(seconds):
            fact = f"a datagram too many came, of {len(found[0]):,} bytes: {found[0][:_SHOWN]!r}"
            raise Failed(fact, pattern="surplus")
