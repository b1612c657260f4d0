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


@pytest.mark.parametrize("size", [37, 101, SIZE, 1000])
def test_replies_are_whole_at_any_split(size: int) -> None:
    answers = [probe(number, size) for number in range(3)]
    assert all(split_up(split, size) == answers for split in every_split(b"".join(answers)))


def test_a_reply_is_complete_with_its_last_byte() -> None:
    replies = ReplyParser(RUN, SIZE)
    assert [*replies.feed(ZERO[:-1])] == []
    assert [*replies.feed(ZERO[-1:])] == [ZERO]


STAMPED = write_timestamp(ZERO, ServerTimestamp(1, 2, 1, 0, 1))
LONGER = ONE[:60] + b"xyz" + ONE[60:]
OTHER = Probes(RUN + 1, SIZE).encode(0, SENT)
PIECES = {
    "a timestamp": [STAMPED, ONE],
    "a duplicate": [ZERO, ZERO, ONE],
    "nothing": [],
    **{f"a reply cut after {kept} bytes": [ZERO[:kept], ONE, TWO] for kept in (12, 36, 64, 121, 127)},
    "halves of replies": [ZERO[:64], ONE[:64], TWO[:64]],
    "no newlines": [ZERO[:-1], ONE[:-1], TWO[:-1]],
    "a damaged mark": [ZERO, b"HLO?" + ONE[4:], TWO],
    "changed marks": [ZERO.upper(), ONE.upper(), TWO.upper()],
    "a newline within": [ZERO, ONE[:50] + b"\n" + ONE[51:], TWO],
    "missing first bytes": [ZERO, ONE[7:], TWO],
    "bytes between replies": [ZERO, b"You said: ", ONE, TWO],
    "bytes within a reply": [ZERO, LONGER[:SIZE], LONGER[SIZE:], TWO],
    "CRLF": [ZERO[:-1] + b"\r", b"\n", ONE],
    "a greeting": [GREETING, b"login: ", ZERO],
    "a greeting that ends like a mark": [b"hlo?0000bee", ZERO],
    "another run": [OTHER, ZERO],
}


@pytest.mark.parametrize("expected", PIECES.values(), ids=PIECES)
def test_damage_to_one_reply_does_not_hide_others_at_any_split(expected: list[bytes]) -> None:
    assert all(split_up(split) == expected for split in every_split(b"".join(expected)))


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
