"""A probe and its answer, byte by byte: what is known of it, what a server may add, and what is wrong with it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.probe import (
    ASKING,
    HEAD,
    LEAST,
    LEAST_STAMPED,
    PLAIN,
    STAMP_END,
    STAMPED,
    Header,
    Probes,
    ServerTimestamp,
    asking,
    asking_lines,
    difference,
    read,
    read_stamp,
    stamped,
)

RUN, NUMBER, SENT = 0xBEEF, 7, 1_700_000_000_123_456_789
STAMP = ServerTimestamp(came_ns=SENT + 1000, left_ns=SENT + 2000, arrived=7, refused=2, window=0b1011)
NUMBERS, WORDS = 1 << 32, 1 << 64
sizes = st.integers(LEAST, 2000)


def probe(size: int = 200, *, number: int = NUMBER, stamp: bool = True) -> bytes:
    return Probes(RUN, size, stamp=stamp).make(number, SENT)


# What a probe is.


@given(sizes, st.booleans())
def test_a_probe_is_one_line_of_ascii_of_the_size_asked_for(size: int, stamp: bool) -> None:
    made = probe(size, stamp=stamp)
    assert len(made) == size
    assert re.fullmatch(rb"[ -~]+\n", made)


@given(st.integers(0, NUMBERS - 1), st.integers(0, NUMBERS - 1), st.integers(0, WORDS - 1), sizes)
def test_what_a_probe_says_can_be_read(run: int, number: int, sent: int, size: int) -> None:
    mark = ASKING if size >= LEAST_STAMPED else PLAIN
    assert read(Probes(run, size).make(number, sent)) == Header(run, number, sent, mark)


def test_a_probe_begins_as_it_is_drawn() -> None:
    assert probe(60, stamp=False) == b"hlo.0000beef00000007" + b"%016x" % SENT + b"020.0000028.0000030.000\n"


def test_a_probe_asks_for_a_stamp_where_there_is_room_alone() -> None:
    assert probe(LEAST_STAMPED).startswith(ASKING)
    assert probe(LEAST_STAMPED - 1).startswith(PLAIN)
    assert probe(2000, stamp=False).startswith(PLAIN)
    assert not Probes(RUN, LEAST_STAMPED - 1).stampable


def test_the_smallest_probe_is_its_heading_and_a_newline() -> None:
    assert probe(LEAST) == probe(2000, stamp=False)[:HEAD] + b"\n"


def test_the_largest_probe_fills_a_datagram_and_no_part_of_it_is_like_another() -> None:
    pattern = probe(65_507)[STAMP_END:-1]
    places = [pattern[start : start + 8] for start in range(0, len(pattern), 8)]
    assert len(set(places)) == len(places)


# Whose answer it is.


@given(st.integers(0, 1 << 40), st.integers(0, NUMBERS - 1))
def test_a_number_is_told_however_often_they_have_begun_again(latest: int, back: int) -> None:
    number = max(latest - back, 0)
    probes = Probes(RUN, 100)
    assert probes.number(probes.make(number, SENT), latest) == number


def test_numbers_begin_again_after_two_to_the_32nd() -> None:
    probes = Probes(RUN, 100)
    assert probes.make(NUMBERS + 5, SENT) == probes.make(5, SENT)
    assert probes.number(probes.make(NUMBERS - 1, SENT), NUMBERS + 1) == NUMBERS - 1
    assert probes.number(probes.make(NUMBERS, SENT), NUMBERS + 1) == NUMBERS


def test_an_answer_to_another_run_is_nobodys() -> None:
    assert Probes(RUN + 1, 200).number(probe(), 10) is None
    assert Probes(RUN + NUMBERS, 200).number(probe(), 10) == NUMBER


@pytest.mark.parametrize("reply", [b"", b"hlo?", b"hello world\n", b"x" * 200, probe()[:HEAD], probe().upper()])
def test_what_is_no_probe_is_nobodys(reply: bytes) -> None:
    assert Probes(RUN, 200).number(reply, 10) is None


@pytest.mark.parametrize("digits", [b"0x00beef", b"+000beef", b" 000beef", b"0_00beef", b"-0000001", b"\xd9\xa0000000"])
def test_digits_are_digits(digits: bytes) -> None:
    assert read(probe().replace(b"0000beef", digits[:8])) is None


# Stamps.


@given(
    st.builds(
        ServerTimestamp,
        st.integers(0, WORDS - 1),
        st.integers(0, WORDS - 1),
        st.integers(0, NUMBERS - 1),
        st.integers(0, NUMBERS - 1),
        st.integers(0, WORDS - 1),
    ),
    st.integers(LEAST_STAMPED, 2000),
)
def test_a_stamp_can_be_read_and_changes_nothing_else(stamp: ServerTimestamp, size: int) -> None:
    sent = probe(size)
    reply = stamped(sent, stamp)
    assert read_stamp(reply) == stamp
    assert len(reply) == len(sent)
    assert reply[len(STAMPED) : HEAD] + reply[STAMP_END:] == sent[len(ASKING) : HEAD] + sent[STAMP_END:]
    assert difference(sent, reply) is None
    assert Probes(RUN, size).number(reply, 10) == NUMBER


def test_a_stamp_may_be_written_where_the_probe_lies() -> None:
    assert stamped(memoryview(probe()), STAMP) == stamped(probe(), STAMP)


def test_a_stamp_larger_than_its_place_begins_again() -> None:
    reply = stamped(probe(), ServerTimestamp(WORDS + 1, WORDS + 2, NUMBERS + 3, NUMBERS + 4, WORDS + 5))
    assert read_stamp(reply) == ServerTimestamp(1, 2, 3, 4, 5)


@pytest.mark.parametrize("reply", [b"", probe(), stamped(probe(), STAMP)[:100], STAMPED + b"z" * 200, STAMPED])
def test_what_has_no_stamp_has_none(reply: bytes) -> None:
    assert read_stamp(reply) is None


def test_who_asks_for_a_stamp_is_heard() -> None:
    assert asking(probe()) == Header(RUN, NUMBER, SENT, ASKING)
    assert asking(probe()[:STAMP_END]) == Header(RUN, NUMBER, SENT, ASKING)


@pytest.mark.parametrize(
    "data",
    [
        probe(stamp=False),
        probe()[: STAMP_END - 1],
        stamped(probe(), STAMP),
        b" " + probe(),
        b"\n" + probe(),
        probe().replace(b"0000beef", b"0000bean"),
        probe()[: STAMP_END - 1] + b"1" + probe()[STAMP_END:],
    ],
)
def test_who_asks_for_none_or_has_no_room_does_not_ask(data: bytes) -> None:
    assert asking(data) is None


def test_those_who_ask_are_found_where_their_lines_begin() -> None:
    one, other = probe(150), probe(300)
    data = one + b"hello\n" + other + b"x" + one + b"\n" + one[:-1]
    found = list(asking_lines(data))
    assert [data[start:end] for start, end in found] == [one, other]
    assert [start for start, _ in found] == [0, 156]


def test_a_line_that_no_newline_ends_is_not_found_yet() -> None:
    assert list(asking_lines(probe()[:-1])) == []


# What is wrong.


@given(st.integers(LEAST, 300), st.data())
def test_the_first_byte_that_differs_is_found(size: int, data: st.DataObject) -> None:
    sent = probe(size)
    places = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    came = bytes(byte ^ 0x80 if place in places else byte for place, byte in enumerate(sent))
    assert difference(sent, came) == min(places)


@given(st.sets(st.integers(0, 199), min_size=1))
def test_under_a_stamp_it_is_found_too_and_the_stamp_is_not_compared(places: set[int]) -> None:
    reply = bytearray(stamped(probe(), STAMP))
    for place in places:
        reply[place] ^= 0x80
    beside = {place for place in places if not HEAD <= place < STAMP_END}
    if not beside & set(range(len(STAMPED))):
        assert difference(probe(), bytes(reply)) == min(beside, default=None)
    else:
        assert difference(probe(), bytes(reply)) == min({*beside, 3})  # by its mark it has no stamp, and differs there


@given(st.integers(0, 199))
def test_an_answer_cut_short_differs_where_it_ends(length: int) -> None:
    assert difference(probe(), probe()[:length]) == length
    if length >= len(STAMPED):
        assert difference(probe(), stamped(probe(), STAMP)[:length]) == length


def test_an_answer_that_is_too_long_differs_where_it_should_end() -> None:
    assert difference(probe(), probe() + b"x") == 200
    assert difference(probe(), stamped(probe(), STAMP) + b"x") == 200


def test_a_stamp_that_nobody_asked_for_is_wrong() -> None:
    plain = probe(stamp=False)
    assert difference(plain, STAMPED + plain[4:]) == 3


def test_part_of_another_probe_is_found_where_it_stands() -> None:
    sent = probe(300)
    assert difference(sent, sent[:200] + sent[208:216] + sent[208:]) == 205  # the last digits of its place


# Anything may come.

pieces = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.sampled_from([PLAIN, ASKING, STAMPED, b"\n", b"0" * 8, b"0" * 64, b"beef", b"-", probe(), probe(60)]),
        st.integers(0, 200).map(lambda length: stamped(probe(), STAMP)[:length]),
    ),
    max_size=8,
).map(b"".join)


@given(pieces)
def test_no_garbage_is_too_much(data: bytes) -> None:
    heading, stamp, asks = read(data), read_stamp(data), asking(data)
    assert asks is None or asks == heading
    assert stamp is None or data.startswith(STAMPED)
    assert heading == read(memoryview(data))
    number = Probes(RUN, 200).number(data, 10)
    assert number is None or number <= 10
    offset = difference(probe(), data)
    assert offset is None or 0 <= offset <= 200


@given(pieces)
def test_in_no_garbage_is_a_probe_found_that_is_none(data: bytes) -> None:
    for start, end in asking_lines(data):
        assert asking(data[start:end])
        assert start == 0 or data[start - 1 : start] == b"\n"
        assert data.index(b"\n", start) == end - 1
