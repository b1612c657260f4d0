"""Resolve names with getaddrinfo(3), in a thread: the system's resolver may not answer for long, and ignores signals.

The thread is a daemon, so that neither its caller nor the exit of the interpreter waits for it.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

from halloo._core.address import Address, is_ip
from halloo._net.readiness import Awaited, Steps

Place = tuple[int, tuple[str | int, ...]]  # a family and a socket address of it
Resolved = tuple[list[Place], int]  # the places, and how many nanoseconds it took


def address_of(place: Place, scheme: str) -> Address:
    """Return a place as the address that a user would write."""
    return from_sockaddr(scheme, place[1])


def from_sockaddr(scheme: str, sockaddr: Sequence[str | int]) -> Address:
    """Return a socket address of IP as a user would write it: an IPv6 one with its interface, as in `fe80::1%eth0`."""
    host, port, *others = sockaddr
    zone = others[1] if others else 0  # sin6_scope_id (ipv6(7))
    if not zone or "%" in str(host):
        return Address(scheme, str(host), int(port))
    with suppress(OSError):  # the interface has been removed
        zone = socket.if_indextoname(int(zone))
    return Address(scheme, f"{host}%{zone}", int(port))


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
