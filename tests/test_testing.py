from hypothesis import given
from hypothesis import strategies as st

from halloo.testing import every_split


def test_every_split_yields_the_whole_single_bytes_and_every_pair() -> None:
    assert list(every_split(b"abc")) == [[b"abc"], [b"a", b"b", b"c"], [b"a", b"bc"], [b"ab", b"c"]]


@given(st.binary())
def test_the_pieces_of_each_split_join_to_the_data(data: bytes) -> None:
    assert all(b"".join(pieces) == data for pieces in every_split(data))


@given(st.binary(min_size=1))
def test_no_piece_is_empty(data: bytes) -> None:
    assert all(piece for pieces in every_split(data) for piece in pieces)


def test_empty_data_is_one_empty_piece_or_none() -> None:
    assert list(every_split(b"")) == [[b""], []]
