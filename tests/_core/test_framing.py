import re
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.framing import FRAMERS, Framer, LengthFramer, LineFramer, RawFramer
from halloo._core.framing import split_chunks as cut_pieces
from halloo._core.framing import split_lines as cut_lines
from halloo.errors import IncompleteRead, MessageTooLong
from halloo.testing import every_split

bodies = st.lists(st.binary(max_size=20), max_size=8)
texts = st.text(st.sampled_from("a\r\n")).map(str.encode)
MARKED = [
    (RawFramer, b"hello", b"hello"),
    (LineFramer, b"hello\n", b"hello"),
    (LineFramer, b"hello\r\n", b"hello"),
    (LineFramer, b"hello", b"hello"),
    (LineFramer, b"hel\rlo\r\r\n", b"hel\rlo\r"),
    (LineFramer, b"\n", b""),
    (LineFramer, b"\r\n", b""),
    (LengthFramer, b"\0\0\0\5hello", b"hello"),
    (LengthFramer, b"\0\0\0\0", b""),
]


def frames(framing: Framer, pieces: Iterable[bytes]) -> list[bytes]:
    found = [frame for piece in pieces for frame in framing.feed(piece)]
    return [*found, *framing.feed_eof()]


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def framed(messages: Iterable[bytes]) -> bytes:
    return b"".join(LengthFramer().frame_reply(b"", message) for message in messages)


def test_messages_are_found_however_the_stream_arrives() -> None:
    for pieces in every_split(b"one\ntwo\r\n\nlast"):
        assert frames(LineFramer(), pieces) == [b"one\n", b"two\r\n", b"\n", b"last"]
        assert list(cut_lines(pieces, 100)) == [b"one\n", b"two\r\n", b"\n", b"last"]
    for pieces in every_split(b"\0\0\0\3one\0\0\0\0\0\0\0\5three"):
        assert frames(LengthFramer(), pieces) == [b"\0\0\0\3one", b"\0\0\0\0", b"\0\0\0\5three"]
    for pieces in every_split(b"hello"):
        assert frames(RawFramer(), pieces) == pieces
    for framer in FRAMERS.values():
        assert frames(framer(), [b""]) == []


def test_an_incomplete_message_is_an_error_with_the_partial_data() -> None:
    for stream in (b"\0", b"\0\0\0\5", b"\0\0\0\5hell"):
        for pieces in every_split(stream):
            with pytest.raises(IncompleteRead) as caught:
                frames(LengthFramer(), pieces)
            assert caught.value.partial == stream


@pytest.mark.parametrize("framer", [LineFramer, LengthFramer])
def test_an_unfinished_message_in_small_pieces_costs_about_its_bytes(framer: Callable[[], Framer]) -> None:
    framing, size = framer(), 40_000
    for _ in framing.feed((1 << 20).to_bytes(4)):
        raise AssertionError("the message is not complete")
    tracemalloc.start()
    try:
        for _ in range(size // 2):
            for _ in framing.feed(bytes([120, 120])):
                raise AssertionError("the message is not complete")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * size


@given(texts, st.lists(st.integers(0)))
def test_lines_do_not_depend_on_the_split(stream: bytes, places: list[int]) -> None:
    assert frames(LineFramer(), split(stream, places)) == re.findall(rb"[^\n]*\n|[^\n]+", stream)


@given(bodies, st.lists(st.integers(0)))
def test_lengths_do_not_depend_on_the_split(messages: list[bytes], places: list[int]) -> None:
    framing = LengthFramer()
    assert [framing.body(frame) for frame in frames(framing, split(framed(messages), places))] == messages


@pytest.mark.parametrize("framing", FRAMERS.values(), ids=FRAMERS)
@given(st.binary(), st.lists(st.integers(0)))
def test_no_byte_is_lost_or_invented(framing: Callable[[], Framer], stream: bytes, places: list[int]) -> None:
    one, received = framing(), b""
    try:
        for piece in split(stream, places):
            received += b"".join(one.feed(piece))
        received += b"".join(one.feed_eof())
    except IncompleteRead as error:
        received += error.partial
    except MessageTooLong:
        return
    assert received == stream


def test_the_body_is_the_frame_without_its_delimiter_and_a_reply_gets_the_same() -> None:
    for framing, frame, body in MARKED:
        assert framing().body(frame) == body
        assert framing().frame_reply(frame, body) == frame
    for ending in (b"\n", b"\r\n", b""):
        assert LineFramer().frame_reply(b"question" + ending, b"answer") == b"answer" + ending
    assert LengthFramer().frame_reply(b"\0\0\0\2hi", b"answer") == b"\0\0\0\6answer"


def test_a_longer_message_is_an_error_as_soon_as_that_is_known() -> None:
    for pieces in every_split(b"1234\n"):
        assert frames(LineFramer(max_size=5), pieces) == [b"1234\n"]
    for pieces in every_split(b"12345\n"):
        with pytest.raises(MessageTooLong, match="longer than 5 bytes"):
            frames(LineFramer(max_size=5), pieces)
    with pytest.raises(MessageTooLong):
        list(LineFramer(max_size=5).feed(b"123456"))
    assert frames(LengthFramer(max_size=5), [b"\0\0\0\5hello"]) == [b"\0\0\0\5hello"]
    with pytest.raises(MessageTooLong, match="announces 6 bytes"):
        list(LengthFramer(max_size=5).feed(b"\0\0\0\6"))


@pytest.mark.parametrize(
    ("framing", "stream", "first"),
    [(LineFramer, b"one\n12345\n", b"one\n"), (LengthFramer, b"\0\0\0\3one\0\0\0\6", b"\0\0\0\3one")],
)
def test_messages_before_an_oversized_one_are_yielded(
    framing: Callable[[int], Framer], stream: bytes, first: bytes
) -> None:
    found = framing(5).feed(stream)
    assert next(found) == first
    with pytest.raises(MessageTooLong):
        next(found)


texts = st.text(st.sampled_from("ab\n"), max_size=40).map(str.encode)
cuts = st.lists(st.integers(0))
sizes = st.integers(1, 9)


def test_longer_messages_are_cut_at_the_same_places_however_they_arrive() -> None:
    for stream, found in (
        (b"123456789ab\ncd\n", [b"12345", b"6789a", b"b\n", b"cd\n"]),
        (b"1234\n", [b"1234\n"]),
        (b"12345\n", [b"12345", b"\n"]),
    ):
        for chunks in every_split(stream):
            assert list(cut_lines(chunks, 5)) == found
    for chunks in every_split(b"123456789"):
        assert list(cut_pieces(chunks, 4)) == [b"1234", b"5678", b"9"]


@pytest.mark.parametrize(("cut", "first"), [(cut_lines, b"one\n"), (cut_pieces, b"one\nt")])
def test_a_message_is_yielded_before_more_is_read(
    cut: Callable[[Iterable[bytes], int], Iterator[bytes]], first: bytes
) -> None:
    def stream() -> Iterator[bytes]:
        yield b"one\ntwo"
        pytest.fail("read on")

    assert list(cut([], 5)) == list(cut([b""], 5)) == []
    assert next(cut(stream(), 5)) == first


@given(texts, cuts, sizes)
def test_long_lines_do_not_depend_on_the_split(stream: bytes, places: list[int], longest: int) -> None:
    assert list(cut_lines(split(stream, places), longest)) == list(cut_lines([stream], longest))


@given(st.binary(max_size=40), cuts, sizes)
def test_pieces_do_not_depend_on_the_split(stream: bytes, places: list[int], size: int) -> None:
    whole = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert list(cut_pieces(split(stream, places), size)) == whole


@pytest.mark.parametrize("cut", [cut_lines, cut_pieces])
@given(texts, cuts, sizes)
def test_no_byte_is_lost_or_invented_and_no_message_is_too_long_or_empty(
    cut: Callable[[Iterable[bytes], int], Iterator[bytes]], stream: bytes, places: list[int], size: int
) -> None:
    found = list(cut(split(stream, places), size))
    assert b"".join(found) == stream
    assert all(0 < len(message) <= size for message in found)
