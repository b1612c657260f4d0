"""Tell what this machine lacks for a connection from a failure of the server under test."""

import errno
import os

from halloo._core.address import Address
from halloo._net import error_mapping, local_ports

_LACKING = {errno.EADDRINUSE, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def raise_if_local(error: OSError, family: int, address: tuple[str, int] | str) -> None:
    """Raise LocalError if this machine has no port, no descriptor or no memory left, so that no server is to blame."""
    number = error.errno
    if number == errno.EADDRNOTAVAIL and not isinstance(address, str) and local_ports.exhausted(family, address):
        number = errno.EADDRINUSE
    if number in _LACKING:
        target = Address("unix", None, 0, address) if isinstance(address, str) else Address("tcp", *address)
        raise error_mapping.connecting(target, OSError(number, os.strerror(number))) from error
