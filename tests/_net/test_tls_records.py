"""OpenSSL is given one record at a time, however they are received."""

import ssl
from collections.abc import Iterator

import pytest

from halloo._net.tls_records import HEADER, MAX_ENCRYPTED, MAX_WITHOUT_DATA, RecordFeed, TooManyRecords


def record(content: bytes) -> bytes:
    return b"\x17\x03\x03" + len(content).to_bytes(2, "big") + content


class Kernel:
    """Returns chunks one by one; a chunk may be the end, and after the last there are none yet."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)

    def __call__(self, size: int) -> bytes:
        assert size == MAX_ENCRYPTED
        for chunk in self._chunks:
            return chunk
        raise BlockingIOError


def fed(*chunks: bytes, times: int) -> list[bytes]:
    """Return what OpenSSL finds after each `feed`."""
    incoming = ssl.MemoryBIO()
    records = RecordFeed(Kernel(*chunks), incoming)
    found = []
    for _ in range(times):
        records.feed()
        found.append(incoming.read())
    return found


def test_records_are_fed_one_by_one_and_the_first_part_of_one_at_once() -> None:
    whole, a, empty, more = record(b"hello"), record(b"a"), record(b""), record(b"more")
    assert fed(a + empty + more, times=3) == [a, empty, more]
    assert fed(whole[:7], whole[7:] + more, times=3) == [whole[:7], whole[7:], more]
    assert fed(a + whole[:8], whole[8:], times=2) == [a, whole]  # a part that follows a record waits for its rest
    assert fed(b"GET / HTTP/1.1\r\n", times=1) == [b"GET / HTTP/1.1\r\n"]  # for OpenSSL to refuse


@pytest.mark.parametrize("cut", range(1, HEADER))
def test_a_part_of_a_header_waits_for_its_rest(cut: int) -> None:
    whole, incoming = record(b"hello"), ssl.MemoryBIO()
    records = RecordFeed(Kernel(whole[:cut], whole[cut:]), incoming)
    with pytest.raises(BlockingIOError):
        records.feed()
    assert (incoming.pending, records.complete()) == (0, False)
    records.feed()
    assert incoming.read() == whole


def test_only_a_whole_record_that_is_kept_is_complete() -> None:
    records = RecordFeed(Kernel(record(b"a") + record(b"b") + record(b"c")[:-1]), ssl.MemoryBIO())
    assert not records.complete()
    records.feed()
    assert records.complete()
    records.feed()
    assert not records.complete()
    with pytest.raises(BlockingIOError):
        records.feed()


@pytest.mark.parametrize("kept", [b"", record(b"b")[:-1]], ids=["nothing", "part of a record"])
def test_the_end_is_an_error_because_close_notify_comes_before_it(kept: bytes) -> None:
    records = RecordFeed(Kernel(record(b"a") + kept, b""), ssl.MemoryBIO())
    records.feed()
    with pytest.raises(ssl.SSLEOFError) as caught:
        records.feed()
    assert (caught.value.errno, caught.value.reason) == (ssl.SSL_ERROR_EOF, "UNEXPECTED_EOF_WHILE_READING")


def test_records_without_data_are_limited_in_a_row() -> None:
    records = RecordFeed(Kernel(record(b"") * (2 * MAX_WITHOUT_DATA + 1)), ssl.MemoryBIO())
    for _ in range(2):
        records.without_data = 0
        for _ in range(MAX_WITHOUT_DATA):
            records.feed()
    with pytest.raises(TooManyRecords):
        records.feed()


def test_the_pieces_of_a_record_count_once() -> None:
    whole = record(bytes(2 * MAX_WITHOUT_DATA))
    pieces = [whole[:HEADER], *(whole[at : at + 1] for at in range(HEADER, len(whole)))]
    assert fed(*pieces, times=len(pieces)) == pieces
