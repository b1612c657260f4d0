"""Find the addresses of a name, in the resolver's order: at once, or in a thread for who has other things to do.

Knows getaddrinfo(3), which takes as long as it takes, and cannot be interrupted.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

from halloo.core.addresses import LOOPBACK, Address, is_ip
from halloo.net import failures
from halloo.net.datagrams import Place
from halloo.net.waiting import Awaited, Steps

Resolved = tuple[list[Place], int]  # the places, and how many nanoseconds it took
Resolve = Callable[[Address, int | None, int | None], Steps[Resolved]]  # the address, a family, and until when


def at_once(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:  # noqa: ARG001 - a Resolve
    """Ask, and have everybody wait. Raises UnknownHost, AddressError."""
    yield from ()
    return _asked(address, family)


def in_a_thread(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:
    """Ask in a thread, which ends by itself. Raises UnknownHost, AddressError, TimedOut, OSError."""
    if is_ip(address.host or ""):
        return _asked(address, family)
    found: list[Resolved | BaseException] = []
    near, far = socket.socketpair()

    def ask() -> None:
        with closing(far):  # its end is the sign
            try:
                found.append(_asked(address, family))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                found.append(error)

    with closing(near):
        try:
            threading.Thread(target=ask, name="halloo resolver", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            ask()
        if not (yield Awaited(near, False, until_ns)):
            raise failures.unresolved(address)
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result


def _asked(address: Address, family: int | None) -> Resolved:
    began = time.monotonic_ns()
    return _resolve(address, family), time.monotonic_ns() - began


def _resolve(address: Address, family: int | None) -> list[Place]:
    host = address.host or "localhost"
    if host == "localhost" and family:
        host = LOOPBACK[family == 6]  # noqa: PLR2004 - many machines know the name in one family only
    kind = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    try:
        found = socket.getaddrinfo(host, address.port, kind, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        if family and is_ip(host):
            raise failures.wrong_family(address, family) from error
        raise failures.unknown(address, error) from error
    return [(int(family), (str(host), *rest)) for family, *_, (host, *rest) in found]
