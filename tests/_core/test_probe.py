"""A probe and its reply, byte by byte: its content, the server's timestamp, and differences."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.probe import (
    HEADER_SIZE,
    MIN_SIZE,
    MIN_TIMESTAMPED_SIZE,
    NOTICE_SIZE,
    PLAIN,
    REQUEST,
    TIMESTAMP_END,
    TIMESTAMPED,
    Header,
    Probes,
    ServerTimestamp,
    first_difference,
    read_header,
    read_notice,
    read_request,
    read_timestamp,
    request_spans,
    write_notice,
    write_timestamp,
)

RUN, NUMBER, SENT = 0xBEEF, 7, 1_700_000_000_123_456_789
STAMP = ServerTimestamp(received_ns=SENT + 1000, sent_ns=SENT + 2000, arrived=7, refused=2, window=0b1011)
NUMBERS, WORDS = 1 << 32, 1 << 64
sizes = st.integers(MIN_SIZE, 2000)


def encoded(size: int = 200, *, number: int = NUMBER, timestamp: bool = True) -> bytes:
    return Probes(RUN, size, timestamps=timestamp).encode(number, SENT)


# Content.


@given(sizes, st.booleans())
def test_a_probe_is_one_line_of_ascii_of_the_given_size(size: int, timestamp: bool) -> None:
    made = encoded(size, timestamp=timestamp)
    assert len(made) == size
    assert re.fullmatch(rb"[ -~]+\n", made)


@given(st.integers(0, NUMBERS - 1), st.integers(0, NUMBERS - 1), st.integers(0, WORDS - 1), sizes)
def test_a_header_can_be_decoded(run: int, number: int, sent: int, size: int) -> None:
    mark = REQUEST if size >= MIN_TIMESTAMPED_SIZE else PLAIN
    assert read_header(Probes(run, size).encode(number, sent)) == Header(run, number, sent, mark)


def test_a_probe_begins_as_documented() -> None:
    assert encoded(60, timestamp=False) == b"hlo.0000beef00000007" + b"%016x" % SENT + b"020.0000028.0000030.000\n"


def test_a_probe_requests_a_timestamp_only_if_there_is_room() -> None:
    assert encoded(MIN_TIMESTAMPED_SIZE).startswith(REQUEST)
    assert encoded(MIN_TIMESTAMPED_SIZE - 1).startswith(PLAIN)
    assert encoded(2000, timestamp=False).startswith(PLAIN)
    assert not Probes(RUN, MIN_TIMESTAMPED_SIZE - 1).timestamps


def test_the_smallest_probe_is_its_header_and_a_newline() -> None:
    assert encoded(MIN_SIZE) == encoded(2000, timestamp=False)[:HEADER_SIZE] + b"\n"


def test_the_largest_probe_fills_a_datagram_and_its_parts_all_differ() -> None:
    pattern = encoded(65_507)[TIMESTAMP_END:-1]
    places = [pattern[start : start + 8] for start in range(0, len(pattern), 8)]
    assert len(set(places)) == len(places)


# Numbers of replies.


@given(st.integers(0, 1 << 40), st.integers(0, NUMBERS - 1))
def test_a_number_is_recovered_after_any_number_of_wraps(latest: int, back: int) -> None:
    number = max(latest - back, 0)
    probes = Probes(RUN, 100)
    assert probes.number(probes.encode(number, SENT), latest) == number


def test_numbers_wrap_around_after_two_to_the_32nd() -> None:
    probes = Probes(RUN, 100)
    assert probes.encode(NUMBERS + 5, SENT) == probes.encode(5, SENT)
    assert probes.number(probes.encode(NUMBERS - 1, SENT), NUMBERS + 1) == NUMBERS - 1
    assert probes.number(probes.encode(NUMBERS, SENT), NUMBERS + 1) == NUMBERS
    assert Probes(RUN + NUMBERS, 200).number(encoded(), 10) == NUMBER


def test_data_that_is_not_a_probe_of_the_run_has_no_number() -> None:
    assert Probes(RUN + 1, 200).number(encoded(), 10) is None
    for reply in (b"", b"hlo?", b"hello world\n", b"x" * 200, encoded()[:HEADER_SIZE], encoded().upper()):
        assert Probes(RUN, 200).number(reply, 10) is None
    for digits in (b"0x00beef", b"+000beef", b" 000beef", b"0_00beef", b"-0000001", b"\xd9\xa0000000"):
        assert read_header(encoded().replace(b"0000beef", digits[:8])) is None


# Timestamps.


@given(
    st.builds(
        ServerTimestamp,
        st.integers(0, WORDS - 1),
        st.integers(0, WORDS - 1),
        st.integers(0, NUMBERS - 1),
        st.integers(0, NUMBERS - 1),
        st.integers(0, WORDS - 1),
    ),
    st.integers(MIN_TIMESTAMPED_SIZE, 2000),
)
def test_a_timestamp_can_be_decoded_and_changes_nothing_else(timestamp: ServerTimestamp, size: int) -> None:
    sent = encoded(size)
    reply = write_timestamp(sent, timestamp)
    assert read_timestamp(reply) == timestamp
    assert len(reply) == len(sent)
    assert (
        reply[len(TIMESTAMPED) : HEADER_SIZE] + reply[TIMESTAMP_END:]
        == sent[len(REQUEST) : HEADER_SIZE] + sent[TIMESTAMP_END:]
    )
    assert first_difference(sent, reply) is None
    assert Probes(RUN, size).number(reply, 10) == NUMBER


@given(st.integers(HEADER_SIZE, TIMESTAMP_END - 1), st.integers(1, 255))
def test_a_damaged_timestamp_is_none(place: int, bits: int) -> None:
    reply = bytearray(write_timestamp(encoded(), STAMP))
    reply[place] ^= bits
    assert read_timestamp(bytes(reply)) is None
    assert first_difference(encoded(), bytes(reply)) == HEADER_SIZE


def test_data_without_a_timestamp_of_its_own_has_none() -> None:
    stamped = write_timestamp(encoded(), STAMP)
    for reply in (b"", encoded(), stamped[:100], TIMESTAMPED + b"z" * 200, TIMESTAMPED):
        assert read_timestamp(reply) is None
    other = write_timestamp(encoded(number=8), STAMP)
    assert read_timestamp(stamped[:HEADER_SIZE] + other[HEADER_SIZE:TIMESTAMP_END] + stamped[TIMESTAMP_END:]) is None
    assert write_timestamp(memoryview(encoded()), STAMP) == stamped
    wrapping = ServerTimestamp(WORDS + 1, WORDS + 2, NUMBERS + 3, NUMBERS + 4, WORDS + 5)
    assert read_timestamp(write_timestamp(encoded(), wrapping)) == ServerTimestamp(1, 2, 3, 4, 5)


def test_a_timestamp_request_is_recognised() -> None:
    for asks in (encoded(), encoded()[:TIMESTAMP_END]):
        assert read_request(asks) == Header(RUN, NUMBER, SENT, REQUEST)
    for data in (
        encoded(timestamp=False),
        encoded()[: TIMESTAMP_END - 1],
        write_timestamp(encoded(), STAMP),
        b" " + encoded(),
        b"\n" + encoded(),
        encoded().replace(b"0000beef", b"0000bean"),
        encoded()[: TIMESTAMP_END - 1] + b"1" + encoded()[TIMESTAMP_END:],
    ):
        assert read_request(data) is None


def test_requests_are_found_at_the_start_of_lines() -> None:
    one, other = encoded(150), encoded(300)
    data = one + b"hello\n" + other + b"x" + one + b"\n" + one[:-1]
    found = list(request_spans(data))
    assert [data[start:end] for start, end in found] == [one, other]
    assert [start for start, _ in found] == [0, 156]
    assert list(request_spans(encoded()[:-1])) == []


# Differences.


@given(st.integers(MIN_SIZE, 300), st.data())
def test_the_first_byte_that_differs_is_found(size: int, data: st.DataObject) -> None:
    sent = encoded(size)
    places = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    received = bytes(byte ^ 0x80 if place in places else byte for place, byte in enumerate(sent))
    assert first_difference(sent, received) == min(places)


@given(st.sets(st.integers(0, 199), min_size=1))
def test_with_a_timestamp_it_is_found_too_and_the_checksum_finds_what_is_damaged_there(places: set[int]) -> None:
    reply = bytearray(write_timestamp(encoded(), STAMP))
    for place in places:
        reply[place] ^= 0x80
    beside = {HEADER_SIZE if HEADER_SIZE <= place < TIMESTAMP_END else place for place in places}
    if not beside & set(range(len(TIMESTAMPED))):
        assert first_difference(encoded(), bytes(reply)) == min(beside)
    else:
        assert first_difference(encoded(), bytes(reply)) == min(
            {*beside, 3}
        )  # its mark says that it has no timestamp, and differs


@given(st.integers(0, 199))
def test_a_truncated_reply_differs_at_its_end(length: int) -> None:
    assert first_difference(encoded(), encoded()[:length]) == length
    if length >= len(TIMESTAMPED):
        assert first_difference(encoded(), write_timestamp(encoded(), STAMP)[:length]) == length


def test_other_replies_differ_where_they_begin_to() -> None:
    assert first_difference(encoded(), encoded() + b"x") == 200
    assert first_difference(encoded(), write_timestamp(encoded(), STAMP) + b"x") == 200
    plain = encoded(timestamp=False)
    assert first_difference(plain, TIMESTAMPED + plain[4:]) == 3  # it was not requested
    sent = encoded(300)
    assert first_difference(sent, sent[:200] + sent[208:216] + sent[208:]) == 205  # the last digits of its offset


# Any input.

pieces = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.sampled_from(
            [PLAIN, REQUEST, TIMESTAMPED, b"\n", b"0" * 8, b"0" * 64, b"beef", b"-", encoded(), encoded(60)]
        ),
        st.integers(0, 200).map(lambda length: write_timestamp(encoded(), STAMP)[:length]),
    ),
    max_size=8,
).map(b"".join)


@given(pieces)
def test_garbage_raises_no_error(data: bytes) -> None:
    header, timestamp, asks = read_header(data), read_timestamp(data), read_request(data)
    assert asks is None or asks == header
    assert timestamp is None or data.startswith(TIMESTAMPED)
    assert header == read_header(memoryview(data))
    number = Probes(RUN, 200).number(data, 10)
    assert number is None or number <= 10
    offset = first_difference(encoded(), data)
    assert offset is None or 0 <= offset <= 200


@given(pieces)
def test_no_probe_is_found_in_garbage(data: bytes) -> None:
    for start, end in request_spans(data):
        assert read_request(data[start:end])
        assert start == 0 or data[start - 1 : start] == b"\n"
        assert data.index(b"\n", start) == end - 1


def test_a_notice_names_its_probe_and_a_count() -> None:
    probes = Probes(7, 128)
    notice = write_notice(probes.encode(3, 1), 0x2A)
    assert len(notice) == NOTICE_SIZE
    begin, refused = read_notice(notice) or (b"", 0)
    assert (probes.number(begin, 5), Probes(8, 128).number(begin, 5), refused) == (3, None, 0x2A)


@pytest.mark.parametrize("data", [b"", Probes(7, 128).encode(3, 1), b"hlo-" + b"0" * 40 + b"x", b"hlo-" + b"z" * 41])
def test_other_data_is_no_notice(data: bytes) -> None:
    found = read_notice(data)
    assert found is None or Probes(7, 128).number(found[0], 5) is None
