"""Tests of the payload: any piece of it can be located."""

from collections.abc import Callable

import pytest

from halloo._check.payload import LINE, WINDOW, difference, locate, payload, shortfall

DATA = payload(100_000, stream=77)


def test_any_sixteen_bytes_give_their_stream_and_offset() -> None:
    for offset in (*range(40), 32_760, 32_767, 32_768, 65_537, 99_984):
        assert locate(DATA[offset : offset + WINDOW]) == (77, offset)
    assert locate(bytes(WINDOW)) is None


def test_a_payload_consists_of_lines_of_text_and_a_shorter_one_is_a_prefix() -> None:
    assert all(len(line) == LINE and line.isascii() for line in payload(800).splitlines(keepends=True))
    assert payload(1234, stream=77) == DATA[:1234]


def test_a_difference_is_explained() -> None:
    for rest, pattern, fact in (
        (DATA[1851:], "gap", "the bytes sent at 1,851 were received: 851 bytes are missing"),
        (DATA[900:], "again", "the bytes sent at 900 were received: 100 bytes are repeated"),
        (payload(2000, 3)[1000:], "crossed", "bytes of another stream, number 3, were received"),
        (b"y", "changed", "other bytes were received than expected"),
        (DATA[1851:2851] + DATA[1000:1851], "order", "the bytes sent at 1,851 were received too early"),
        (b"> " + DATA[1000:], "inserted", "2 bytes are inserted: b'> '"),
        (b"\0" + DATA[1000:], "inserted nul", "1 byte is inserted: b'\\x00'"),
        (b"\n" + DATA[1000:], "inserted newline", "1 byte is inserted: b'\\n'"),
    ):
        assert difference(DATA, DATA[:1000] + rest) == (f"at offset 1,000 {fact}", pattern, 1000)
    text, *_ = difference(b"x" * 20, b"x" * 10 + b"y", 5000)
    assert text == "at offset 5,010 other bytes were received than expected"


def test_a_gap_is_found_where_it_may_begin_although_its_ends_are_equal() -> None:
    data = payload(4096)
    text, pattern, index = difference(data, data[:100] + data[1024:2048])
    assert (text, pattern) == ("at offset 100 the bytes sent at 1,024 were received: 924 bytes are missing", "gap")
    assert index > 100  # the first bytes are equal


TEXT = bytes(range(256)) + b"\0\r\n\xe9\xff Hello\n"


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda text: b"You said: " + text, "inserted"),
        (lambda text: text.replace(b"\n", b"\r\n"), "inserted newline"),
        (lambda text: b"".join(b"%c\0" % byte for byte in text[1:]), "inserted nul"),
        (lambda text: text.decode(errors="replace").encode(), "changed high replaced"),
        (lambda text: text.decode("ascii", "replace").encode("ascii", "replace"), "changed high replaced"),
        (lambda text: text.decode("latin-1").encode(), "changed high recoded"),
        (lambda text: text.decode(errors="ignore").encode(), "gap high"),
        (lambda text: text.replace(b"\0", b""), "gap nul"),
        (lambda text: text.replace(b"\n", b""), "gap newline"),
        (lambda text: text.replace(b"\r", b""), "gap cr"),
        (bytes.upper, "changed upper"),
        (bytes.lower, "changed lower"),
        (lambda text: text[::-1], "changed reversed"),
        (lambda text: repr(text).encode(), "changed"),
    ],
)
def test_a_difference_says_what_was_changed(change: Callable[[bytes], bytes], pattern: str) -> None:
    text = TEXT[1:] if "nul" in pattern and "inserted" in pattern else TEXT
    assert difference(text, change(TEXT))[1] == pattern


def test_a_reply_that_is_too_short_says_where_it_ends() -> None:
    for count, words in {0: (), 10: ("newline",), 11: ("at-newline",), 128: ("at-high", "round", "at-128")}.items():
        expected = bytes(range(10)) + b"\n" if words == ("newline",) else TEXT
        assert shortfall(expected, count) == words
    assert shortfall(TEXT, TEXT.rindex(b"\0")) == ("at-nul", "round", "at-256")
    assert shortfall(DATA, 1024) == ("at-newline", "round", "at-1024")
