"""Wait until one of some sockets can be read or written, without missing Ctrl-C on any system.

Knows select and the clock. A socket is non-blocking throughout; whoever finds that it would block waits here, or does
what it does in `Steps`, so that somebody who has other things to do as well can wait for it.
"""

import os
import select
import socket
import time
from collections.abc import Generator, Iterable, Sequence
from math import isfinite
from typing import NamedTuple, TypeVar

from halloo._core.units import SECOND

# One waits in steps: on Windows neither recv nor select notices Ctrl-C, but Python does in between; elsewhere because
# poll(2) counts milliseconds in an int, which is 24 days.
STEP = 0.25 if os.name == "nt" else 86_400.0


class Awaited(NamedTuple):
    """What a step waits for: that a socket takes something, or has something, until a moment of the steady clock."""

    socket: socket.socket
    writing: bool
    until_ns: int | None = None  # for ever when None


Found = TypeVar("Found")
Steps = Generator[Awaited, bool, Found]
"""What is done step by step: it is sent whether its socket was ready, False when the time is over."""


def finished(steps: Steps[Found]) -> Found:
    """Take all steps, wait for each, and give what they come to."""
    try:
        awaited = next(steps)
        while True:
            left = None if awaited.until_ns is None else max(awaited.until_ns - time.monotonic_ns(), 0) / SECOND
            awaited = steps.send(bool(_until([awaited.socket], left, write=awaited.writing)))
    except StopIteration as over:
        return over.value  # type: ignore[no-any-return]
    finally:
        steps.close()


def moment(seconds: float | None) -> int | None:
    """Say when so many seconds will have passed, of the steady clock; None for never, as for infinity."""
    return time.monotonic_ns() + int(seconds * SECOND) if seconds is not None and isfinite(seconds * SECOND) else None


def until_readable(sockets: Sequence[socket.socket], timeout: float | None) -> Iterable[socket.socket]:
    """Wait `timeout` seconds, for ever when None, for any of the sockets; give those that are ready, or none."""
    return _until(sockets, timeout, write=False)


def until_writable(sock: socket.socket, timeout: float | None) -> bool:
    """Wait `timeout` seconds, for ever when None, until the socket takes something; whether it does."""
    return bool(_until([sock], timeout, write=True))


def _until(sockets: Sequence[socket.socket], timeout: float | None, *, write: bool) -> list[socket.socket]:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        step = STEP if left is None else min(left, STEP)
        ready = _ready(sockets, step, write=write)
        if ready or step == left:
            return ready


def _ready(sockets: Sequence[socket.socket], timeout: float, *, write: bool) -> list[socket.socket]:
    if hasattr(select, "poll"):  # select(2) knows no descriptor above 1023
        poller = select.poll()
        for sock in sockets:
            poller.register(sock, select.POLLOUT if write else select.POLLIN)
        numbers = {fd for fd, _ in poller.poll(timeout * 1000)}
        return [sock for sock in sockets if sock.fileno() in numbers]
    # Windows reports a failed connect among the exceptional ones only.
    readable, writable, failed = select.select([] if write else sockets, sockets if write else [], sockets, timeout)
    return [*readable, *writable, *failed]
