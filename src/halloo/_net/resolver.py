"""Resolve names with getaddrinfo(3), in a thread: the system's resolver may not answer for long, and ignores signals.

The thread is a daemon, so that neither its caller nor the exit of the interpreter waits for it.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

from halloo._core.address import Address, is_ip
from halloo._net.readiness import Awaited, Steps

Place = tuple[int, tuple[str | int, ...]]  # a family and a socket address of it
Resolved = tuple[list[Place], int]  # the places, and how many nanoseconds it took


def address_of(place: Place, scheme: str) -> Address:
    """Return a place as the address that a user would write."""
    _, (host, port, *_) = place
    return Address(scheme, str(host), int(port))


def resolving(host: str, port: int, *, family: int = 0, flags: int = 0, until_ns: int | None) -> Steps[Resolved]:
    """Return the places of a name, each once, in the resolver's order; `family` and `flags` are getaddrinfo(3)'s.

    Raises socket.gaierror, UnicodeError, TimeoutError, OSError.
    """

    def ask() -> Resolved:
        began = time.monotonic_ns()
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
        places = dict.fromkeys((int(kind), (str(name), *rest)) for kind, *_, (name, *rest) in found)
        return [*places], time.monotonic_ns() - began

    return ask() if is_ip(host) else (yield from in_thread(ask, until_ns))


def in_thread(ask: Callable[[], Resolved], until_ns: int | None) -> Steps[Resolved]:
    """Call a function in a thread of its own. Raises what it raises; TimeoutError, and leaves the thread to itself."""
    found: list[Resolved | BaseException] = []
    near, far = socket.socketpair()

    def run() -> None:
        with closing(far):  # its end wakes the caller
            try:
                found.append(ask())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                found.append(error)

    with closing(near):
        try:
            threading.Thread(target=run, name="halloo resolver", daemon=True).start()
        except RuntimeError:  # no thread can be started
            run()
        if not (yield Awaited([near], False, until_ns)):
            raise TimeoutError
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result
