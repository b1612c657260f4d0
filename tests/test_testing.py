from hypothesis import given
from hypothesis import strategies as st

from halloo.testing import every_split


def test_a_stream_comes_whole_byte_by_byte_and_in_every_pair() -> None:
    assert list(every_split(b"abc")) == [[b"abc"], [b"a", b"b", b"c"], [b"a", b"bc"], [b"ab", b"c"]]


@given(st.binary())
def test_no_split_loses_a_byte(data: bytes) -> None:
    assert all(b"".join(pieces) == data for pieces in every_split(data))


@given(st.binary(min_size=1))
def test_no_piece_is_empty(data: bytes) -> None:
    assert all(piece for pieces in every_split(data) for piece in pieces)


def test_nothing_can_come_as_an_empty_piece_or_not_at_all() -> None:
    assert list(every_split(b"")) == [[b""], []]
