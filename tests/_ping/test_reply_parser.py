"""Splitting a stream into replies, which does not depend on its chunks or on damage."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.probe import Probes, ServerTimestamp, write_timestamp
from halloo._ping.reply_parser import ReplyParser
from halloo.testing import every_split

RUN, SIZE = 0xBEEF, 128
MARK = 12  # bytes, run number included
SENT = 1_700_000_000_123_456_789
GREETING = b"220 welcome to the echo, h and hlo and hlo? too\r\n"


def probe(number: int, size: int = SIZE) -> bytes:
    return Probes(RUN, size).encode(number, SENT + number)


ZERO, ONE, TWO = probe(0), probe(1), probe(2)


def split_up(pieces: list[bytes], size: int = SIZE) -> list[bytes]:
    """Feed these chunks, and return the pieces, with the incomplete one at the end."""
    replies = ReplyParser(RUN, size)
    found = [piece for data in pieces for piece in replies.feed(data)]
    rest = replies.finish()
    return [*found, rest] if rest else found


def assert_same_at_any_split(data: bytes, expected: list[bytes]) -> None:
    assert all(split_up(split) == expected for split in every_split(data))


# Replies.


@pytest.mark.parametrize("size", [37, 64, 101, SIZE, 1000])
def test_replies_are_whole_at_any_split(size: int) -> None:
    answers = [probe(number, size) for number in range(3)]
    assert all(split_up(split, size) == answers for split in every_split(b"".join(answers)))


def test_a_reply_is_complete_with_its_last_byte() -> None:
    replies = ReplyParser(RUN, SIZE)
    assert [*replies.feed(ZERO[:-1])] == []
    assert [*replies.feed(ZERO[-1:])] == [ZERO]


def test_a_reply_with_a_timestamp_is_one_piece() -> None:
    answer = write_timestamp(ZERO, ServerTimestamp(1, 2, 1, 0, 1))
    assert_same_at_any_split(answer + ONE, [answer, ONE])


def test_a_duplicate_reply_is_given_twice() -> None:
    assert_same_at_any_split(ZERO + ZERO + ONE, [ZERO, ZERO, ONE])


def test_empty_input_gives_nothing() -> None:
    assert split_up([b"", b""]) == []


# Damage to one reply does not hide others.


@pytest.mark.parametrize("kept", [12, 36, 64, 121, 127])
def test_a_short_reply_ends_at_the_next_mark(kept: int) -> None:
    assert_same_at_any_split(ZERO[:kept] + ONE + TWO, [ZERO[:kept], ONE, TWO])


def test_halves_of_replies_are_not_joined() -> None:
    assert_same_at_any_split(ZERO[:64] + ONE[:64] + TWO[:64], [ZERO[:64], ONE[:64], TWO[:64]])


def test_replies_without_newlines_are_separate_pieces() -> None:
    assert_same_at_any_split(ZERO[:-1] + ONE[:-1] + TWO[:-1], [ZERO[:-1], ONE[:-1], TWO[:-1]])


def test_a_reply_with_a_damaged_mark_is_a_separate_line() -> None:
    damaged = b"HLO?" + ONE[4:]
    assert_same_at_any_split(ZERO + damaged + TWO, [ZERO, damaged, TWO])


def test_an_echo_that_changes_every_mark_is_split_into_lines() -> None:
    answers = [ZERO.upper(), ONE.upper(), TWO.upper()]
    assert_same_at_any_split(b"".join(answers), answers)


def test_a_damaged_byte_after_the_mark_changes_no_boundary() -> None:
    damaged = ONE[:50] + b"\n" + ONE[51:]
    assert_same_at_any_split(ZERO + damaged + TWO, [ZERO, damaged, TWO])


def test_missing_first_bytes_leave_the_rest_of_the_line() -> None:
    assert_same_at_any_split(ZERO + ONE[7:] + TWO, [ZERO, ONE[7:], TWO])


def test_inserted_bytes_are_a_separate_piece() -> None:
    assert_same_at_any_split(ZERO + b"You said: " + ONE + TWO, [ZERO, b"You said: ", ONE, TWO])


def test_inserted_bytes_within_a_reply_do_not_affect_the_next() -> None:
    longer = ONE[:60] + b"xyz" + ONE[60:]
    assert_same_at_any_split(ZERO + longer + TWO, [ZERO, longer[:SIZE], longer[SIZE:], TWO])


def test_crlf_line_endings_give_an_extra_piece() -> None:
    answer = ZERO[:-1] + b"\r\n"
    assert_same_at_any_split(answer + ONE, [answer[:SIZE], b"\n", ONE])


def test_a_greeting_is_a_separate_piece() -> None:
    assert_same_at_any_split(GREETING + b"login: " + ZERO, [GREETING, b"login: ", ZERO])


def test_a_greeting_that_ends_like_a_mark_is_held_back() -> None:
    assert_same_at_any_split(b"hlo?0000bee" + ZERO, [b"hlo?0000bee", ZERO])


def test_probes_of_another_run_are_ordinary_lines() -> None:
    other = Probes(RUN + 1, SIZE).encode(0, SENT)
    assert_same_at_any_split(other + ZERO, [other, ZERO])


# Endless and arbitrary input.


@pytest.mark.parametrize("byte", [b"x", b"h", b"\0", b"\n"])
def test_endless_input_is_buffered_up_to_a_probe(byte: bytes) -> None:
    replies = ReplyParser(RUN, SIZE)
    returned = b"".join(piece for _ in range(100) for piece in replies.feed(byte * 1000))
    rest = replies.finish()
    assert len(rest) < SIZE + MARK
    assert returned + rest == byte * 100_000


pieces = st.one_of(
    st.sampled_from([ZERO, ONE, TWO, ZERO[:40], ONE[9:], TWO.upper(), GREETING, b"\n", b"hlo", ONE[:11], b"hlo!"]),
    st.binary(max_size=200),
)


@given(st.lists(pieces, max_size=8), st.lists(st.integers(0, 1500), max_size=8))
def test_pieces_do_not_depend_on_the_split(received: list[bytes], offsets: list[int]) -> None:
    data = b"".join(received)
    ends = [0, *sorted(min(offset, len(data)) for offset in offsets), len(data)]
    split = [data[start:end] for start, end in pairwise(ends)]
    found = split_up(split)
    assert found == split_up([data])
    assert b"".join(found) == data


@given(st.lists(pieces.filter(lambda piece: b"hlo" not in piece), max_size=5), st.integers(0, 3))
def test_correct_replies_after_any_data_are_found(before: list[bytes], count: int) -> None:
    answers = [probe(number) for number in range(count)]
    noise = b"".join(before)
    found = split_up([noise + b"".join(answers)])
    assert found[len(found) - count :] == answers
