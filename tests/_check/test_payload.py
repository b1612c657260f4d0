"""Tests of what the findings rest on: a payload tells of any piece where it belongs."""

import pytest

from halloo._check.payload import LINE, WINDOW, difference, locate, payload

DATA = payload(100_000, stream=77)


@pytest.mark.parametrize("offset", [*range(40), 32_760, 32_767, 32_768, 65_537, 99_984])
def test_any_sixteen_bytes_tell_their_stream_and_offset(offset: int) -> None:
    assert locate(DATA[offset : offset + WINDOW]) == (77, offset)


def test_a_shorter_payload_is_the_beginning_of_a_longer_one() -> None:
    assert payload(1234, stream=77) == DATA[:1234]


def test_it_is_lines_of_text() -> None:
    assert all(len(line) == LINE and line.isascii() for line in payload(800).splitlines(keepends=True))


def test_other_bytes_have_no_place() -> None:
    assert locate(bytes(WINDOW)) is None


def test_a_gap_is_measured() -> None:
    fact = "at offset 1,000 came what was sent at 1,851: a gap of 851 bytes"
    assert difference(DATA, DATA[:1000] + DATA[1851:]) == (fact, "gap", 1000)


def test_a_repetition_is_measured() -> None:
    fact = "at offset 1,000 came what was sent at 900: 100 bytes came again"
    assert difference(DATA, DATA[:1000] + DATA[900:]) == (fact, "again", 1000)


def test_another_stream_is_named() -> None:
    fact = "at offset 1,000 came bytes of another stream, number 3"
    assert difference(DATA, DATA[:1000] + payload(2000, 3)[1000:]) == (fact, "crossed", 1000)


def test_an_offset_of_the_beginning_is_counted() -> None:
    fact = "at offset 5,010 came something that was never sent there"
    assert difference(b"x" * 20, b"x" * 10 + b"y", 5000) == (fact, "changed", 10)
