"""Tests of the payload: any piece of it can be located."""

import pytest

from halloo._check.payload import LINE, WINDOW, difference, locate, payload

DATA = payload(100_000, stream=77)


@pytest.mark.parametrize("offset", [*range(40), 32_760, 32_767, 32_768, 65_537, 99_984])
def test_any_sixteen_bytes_give_their_stream_and_offset(offset: int) -> None:
    assert locate(DATA[offset : offset + WINDOW]) == (77, offset)


def test_a_shorter_payload_is_a_prefix_of_a_longer_one() -> None:
    assert payload(1234, stream=77) == DATA[:1234]


def test_a_payload_consists_of_lines_of_text() -> None:
    assert all(len(line) == LINE and line.isascii() for line in payload(800).splitlines(keepends=True))


def test_other_bytes_cannot_be_located() -> None:
    assert locate(bytes(WINDOW)) is None


def test_a_gap_is_measured() -> None:
    fact = "at offset 1,000 the bytes sent at 1,851 were received: 851 bytes are missing"
    assert difference(DATA, DATA[:1000] + DATA[1851:]) == (fact, "gap", 1000)


def test_a_repetition_is_measured() -> None:
    fact = "at offset 1,000 the bytes sent at 900 were received: 100 bytes are repeated"
    assert difference(DATA, DATA[:1000] + DATA[900:]) == (fact, "again", 1000)


def test_another_stream_is_named() -> None:
    fact = "at offset 1,000 bytes of another stream, number 3, were received"
    assert difference(DATA, DATA[:1000] + payload(2000, 3)[1000:]) == (fact, "crossed", 1000)


def test_the_base_offset_is_added() -> None:
    fact = "at offset 5,010 bytes were received that were never sent"
    assert difference(b"x" * 20, b"x" * 10 + b"y", 5000) == (fact, "changed", 10)
