"""What comes back on a stream, cut into pieces: the same however it is split, whatever is wrong with it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.probe import Probes, ServerTimestamp, stamped
from halloo._ping.reply_parser import ReplyParser
from halloo.testing import every_split

RUN, SIZE = 0xBEEF, 128
MARK = 12  # bytes, with the run
SENT = 1_700_000_000_123_456_789
GREETING = b"220 welcome to the echo, h and hlo and hlo? too\r\n"


def probe(number: int, size: int = SIZE) -> bytes:
    return Probes(RUN, size).make(number, SENT + number)


ZERO, ONE, TWO = probe(0), probe(1), probe(2)


def cut(pieces: list[bytes], size: int = SIZE) -> list[bytes]:
    """Feed what came in these pieces, and give what it is cut into, with what is left at the end."""
    replies = ReplyParser(RUN, size)
    found = [piece for data in pieces for piece in replies.feed(data)]
    rest = replies.finish()
    return [*found, rest] if rest else found


def same_at_any_split(data: bytes, expected: list[bytes]) -> None:
    assert all(cut(split) == expected for split in every_split(data))


# Answers.


@pytest.mark.parametrize("size", [37, 64, 101, SIZE, 1000])
def test_answers_are_whole_at_any_split(size: int) -> None:
    answers = [probe(number, size) for number in range(3)]
    assert all(cut(split, size) == answers for split in every_split(b"".join(answers)))


def test_an_answer_is_there_as_soon_as_its_last_byte() -> None:
    replies = ReplyParser(RUN, SIZE)
    assert [*replies.feed(ZERO[:-1])] == []
    assert [*replies.feed(ZERO[-1:])] == [ZERO]


def test_an_answer_with_a_stamp_is_one_as_well() -> None:
    answer = stamped(ZERO, ServerTimestamp(1, 2, 1, 0, 1))
    same_at_any_split(answer + ONE, [answer, ONE])


def test_an_answer_that_comes_twice_is_given_twice() -> None:
    same_at_any_split(ZERO + ZERO + ONE, [ZERO, ZERO, ONE])


def test_nothing_is_given_of_nothing() -> None:
    assert cut([b"", b""]) == []


# What is wrong with one hides none of the others.


@pytest.mark.parametrize("kept", [12, 36, 64, 121, 127])
def test_a_short_answer_ends_where_the_next_begins(kept: int) -> None:
    same_at_any_split(ZERO[:kept] + ONE + TWO, [ZERO[:kept], ONE, TWO])


def test_halves_of_answers_are_not_taken_for_a_whole_one() -> None:
    same_at_any_split(ZERO[:64] + ONE[:64] + TWO[:64], [ZERO[:64], ONE[:64], TWO[:64]])


def test_answers_without_their_newlines_are_pieces_of_their_own() -> None:
    same_at_any_split(ZERO[:-1] + ONE[:-1] + TWO[:-1], [ZERO[:-1], ONE[:-1], TWO[:-1]])


def test_a_damaged_mark_makes_a_line_of_its_own() -> None:
    damaged = b"HLO?" + ONE[4:]
    same_at_any_split(ZERO + damaged + TWO, [ZERO, damaged, TWO])


def test_an_echo_that_changes_every_mark_is_given_line_by_line() -> None:
    answers = [ZERO.upper(), ONE.upper(), TWO.upper()]
    same_at_any_split(b"".join(answers), answers)


def test_a_damaged_byte_elsewhere_moves_nothing() -> None:
    damaged = ONE[:50] + b"\n" + ONE[51:]
    same_at_any_split(ZERO + damaged + TWO, [ZERO, damaged, TWO])


def test_lost_bytes_at_the_beginning_leave_the_rest_of_the_line() -> None:
    same_at_any_split(ZERO + ONE[7:] + TWO, [ZERO, ONE[7:], TWO])


def test_inserted_bytes_are_a_piece_of_their_own() -> None:
    same_at_any_split(ZERO + b"You said: " + ONE + TWO, [ZERO, b"You said: ", ONE, TWO])


def test_inserted_bytes_within_an_answer_do_not_reach_the_next() -> None:
    longer = ONE[:60] + b"xyz" + ONE[60:]
    same_at_any_split(ZERO + longer + TWO, [ZERO, longer[:SIZE], longer[SIZE:], TWO])


def test_lines_that_end_as_on_windows_leave_a_piece_each() -> None:
    answer = ZERO[:-1] + b"\r\n"
    same_at_any_split(answer + ONE, [answer[:SIZE], b"\n", ONE])


def test_a_greeting_is_a_piece_of_its_own() -> None:
    same_at_any_split(GREETING + b"login: " + ZERO, [GREETING, b"login: ", ZERO])


def test_a_greeting_that_looks_like_a_mark_to_its_end_is_waited_for() -> None:
    same_at_any_split(b"hlo?0000bee" + ZERO, [b"hlo?0000bee", ZERO])


def test_the_probes_of_another_run_are_lines_like_others() -> None:
    other = Probes(RUN + 1, SIZE).make(0, SENT)
    same_at_any_split(other + ZERO, [other, ZERO])


# What never ends is not kept.


@pytest.mark.parametrize("byte", [b"x", b"h", b"\0", b"\n"])
def test_no_more_than_a_probe_is_kept_of_what_has_no_end(byte: bytes) -> None:
    replies = ReplyParser(RUN, SIZE)
    given_back = b"".join(piece for _ in range(100) for piece in replies.feed(byte * 1000))
    rest = replies.finish()
    assert len(rest) < SIZE + MARK
    assert given_back + rest == byte * 100_000


pieces = st.one_of(
    st.sampled_from([ZERO, ONE, TWO, ZERO[:40], ONE[9:], TWO.upper(), GREETING, b"\n", b"hlo", ONE[:11], b"hlo!"]),
    st.binary(max_size=200),
)


@given(st.lists(pieces, max_size=8), st.lists(st.integers(0, 1500), max_size=8))
def test_whatever_comes_is_cut_the_same_however_it_was_split(came: list[bytes], places: list[int]) -> None:
    data = b"".join(came)
    ends = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    split = [data[start:end] for start, end in pairwise(ends)]
    found = cut(split)
    assert found == cut([data])
    assert b"".join(found) == data


@given(st.lists(pieces.filter(lambda piece: b"hlo" not in piece), max_size=5), st.integers(0, 3))
def test_right_answers_after_anything_are_found(before: list[bytes], count: int) -> None:
    answers = [probe(number) for number in range(count)]
    junk = b"".join(before)
    found = cut([junk + b"".join(answers)])
    assert found[len(found) - count :] == answers
