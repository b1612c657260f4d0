import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo.core.cutting import lines, pieces
from halloo.testing import every_split

texts = st.text(st.sampled_from("ab\n"), max_size=40).map(str.encode)
cuts = st.lists(st.integers(0))
sizes = st.integers(1, 9)


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def test_lines_keep_their_newlines_however_the_stream_arrives() -> None:
    for chunks in every_split(b"one\ntwo\r\n\nlast"):
        assert list(lines(chunks, 100)) == [b"one\n", b"two\r\n", b"\n", b"last"]


def test_a_longer_line_is_cut_at_the_same_places_however_it_arrives() -> None:
    for chunks in every_split(b"123456789ab\ncd\n"):
        assert list(lines(chunks, 5)) == [b"12345", b"6789a", b"b\n", b"cd\n"]


@pytest.mark.parametrize(("stream", "found"), [(b"1234\n", [b"1234\n"]), (b"12345\n", [b"12345", b"\n"])])
def test_the_newline_belongs_to_the_length_of_a_line(stream: bytes, found: list[bytes]) -> None:
    for chunks in every_split(stream):
        assert list(lines(chunks, 5)) == found


@given(texts, cuts)
def test_lines_do_not_depend_on_the_split(stream: bytes, places: list[int]) -> None:
    assert list(lines(split(stream, places), 100)) == re.findall(rb"[^\n]*\n|[^\n]+", stream)


@given(texts, cuts, sizes)
def test_long_lines_do_not_depend_on_the_split(stream: bytes, places: list[int], longest: int) -> None:
    assert list(lines(split(stream, places), longest)) == list(lines([stream], longest))


def test_pieces_are_of_one_size_however_the_stream_arrives() -> None:
    for chunks in every_split(b"123456789"):
        assert list(pieces(chunks, 4)) == [b"1234", b"5678", b"9"]


@given(st.binary(max_size=40), cuts, sizes)
def test_pieces_do_not_depend_on_the_split(stream: bytes, places: list[int], size: int) -> None:
    whole = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert list(pieces(split(stream, places), size)) == whole


@pytest.mark.parametrize("cut", [lines, pieces])
@given(texts, cuts, sizes)
def test_no_byte_is_lost_or_invented_and_no_message_is_too_long_or_empty(
    cut: Callable[[Iterable[bytes], int], Iterator[bytes]], stream: bytes, places: list[int], size: int
) -> None:
    found = list(cut(split(stream, places), size))
    assert b"".join(found) == stream
    assert all(0 < len(message) <= size for message in found)


@pytest.mark.parametrize("cut", [lines, pieces])
def test_a_stream_without_bytes_has_no_messages(cut: Callable[[Iterable[bytes], int], Iterator[bytes]]) -> None:
    assert list(cut([], 5)) == list(cut([b""], 5)) == []


@pytest.mark.parametrize(("cut", "first"), [(lines, b"one\n"), (pieces, b"one\nt")])
def test_a_message_is_given_before_more_is_read(
    cut: Callable[[Iterable[bytes], int], Iterator[bytes]], first: bytes
) -> None:
    def stream() -> Iterator[bytes]:
        yield b"one\ntwo"
        pytest.fail("read on")

    assert next(cut(stream(), 5)) == first
