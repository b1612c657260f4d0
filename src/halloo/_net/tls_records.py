"""Give OpenSSL one received TLS record at a time, and limit the records that carry no data.

OpenSSL reads on through such records (KeyUpdate, session tickets, empty ones, pieces of a handshake) while it finds
more of them, and a KeyUpdate of 27 bytes costs it 10 to 20 us: one call could go on for seconds.
"""

import ssl
from collections.abc import Callable

HEADER = 5  # bytes: type, version, length (RFC 8446, 5.1)
MAX_ENCRYPTED = HEADER + 16 * 1024 + 2048  # bytes of a record; encryption adds at most 2048 (RFC 5246, 6.2.3)
# In a row: a handshake has about 10. In fragments of 512 bytes (RFC 6066, 4), 64 hold a certificate chain of 32 KiB.
MAX_WITHOUT_DATA = 64


class TooManyRecords(ssl.SSLError):
    """The peer has sent more than MAX_WITHOUT_DATA records in a row without data."""

    library = "halloo"
    reason = "TOO_MANY_RECORDS_WITHOUT_DATA"


class RecordFeed:
    """The incoming side of one ssl.SSLObject; `receive(size)` returns what the kernel has, as `socket.recv` does."""

    __slots__ = ("_incoming", "_missing", "_receive", "kept", "without_data")

    def __init__(self, receive: Callable[[int], bytes], incoming: ssl.MemoryBIO) -> None:
        self._receive, self._incoming = receive, incoming
        self.without_data = 0  # records in a row; the caller sets it to 0 after data, and after the handshake
        self.kept = b""  # received after the record that was passed on last
        self._missing = 0  # bytes of that record that have not been received yet

    def complete(self) -> bool:
        """Whether the next record has been received already, so that the kernel may have no more to report."""
        return len(self.kept) >= HEADER and len(self.kept) >= HEADER + (self.kept[3] << 8 | self.kept[4])

    def idle(self) -> bool:
        """Whether the last record was passed on whole, held data, and nothing was received after it."""
        return not (self.kept or self._missing or self.without_data)

    def feed(self) -> None:
        """Pass on the next record, or as much of it as has been received.

        Raises ssl.SSLEOFError at the end, TooManyRecords, and what `receive` raises.
        """
        if self.complete():
            self._pass_on(self.kept)
        else:
            self.add(self._receive(MAX_ENCRYPTED))

    def add(self, received: bytes) -> None:
        """Do the same with bytes that the caller has received."""
        if not received:
            # As OpenSSL reports it: a peer that ends properly has sent close_notify before.
            error = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed without close_notify")
            error.library, error.reason = "SSL", "UNEXPECTED_EOF_WHILE_READING"
            raise error
        self._pass_on(self.kept + received)

    def _pass_on(self, data: bytes) -> None:
        size = self._missing
        if not size:
            if len(data) < HEADER:
                self.kept = data
                raise BlockingIOError
            if self.without_data >= MAX_WITHOUT_DATA:
                raise TooManyRecords(TooManyRecords.reason)
            self.without_data += 1
            size = HEADER + (data[3] << 8 | data[4])
        if len(data) <= size:
            self.kept, self._missing = b"", size - len(data)
            self._incoming.write(data)
        else:
            self.kept, self._missing = data[size:], 0
            self._incoming.write(data[:size])
