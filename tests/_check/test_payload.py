"""Tests of the payload: any piece of it can be located."""

from halloo._check.payload import LINE, WINDOW, difference, locate, payload

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
        (b"y", "changed", "bytes were received that were never sent"),
    ):
        assert difference(DATA, DATA[:1000] + rest) == (f"at offset 1,000 {fact}", pattern, 1000)
    text, *_ = difference(b"x" * 20, b"x" * 10 + b"y", 5000)
    assert text == "at offset 5,010 bytes were received that were never sent"
