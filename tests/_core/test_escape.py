import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.escape import EscapingDecoder, printable, quoted
from halloo.testing import every_split


def shown(pieces: list[bytes]) -> str:
    screen = EscapingDecoder()
    return "".join(screen.feed(piece) for piece in pieces) + screen.feed(b"", last=True)


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in printable(text))


@given(st.binary())
def test_no_control_byte_survives(data: bytes) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in shown([data]))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("over\rwritten", r"over\rwritten"),
        ("\b\a\x7f\0", r"\x08\x07\x7f\x00"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
    ],
)
def test_control_characters_are_escaped(text: str, safe: str) -> None:
    assert printable(text) == safe


@pytest.mark.parametrize(
    "text", ["", "plain", "two\nlines\n", "a\ttab", "héllo, wörld", "日本", "🙂", "'quoted' \\ \""]
)
def test_harmless_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_a_character_may_be_cut_in_two() -> None:
    for pieces in every_split("é日🙂\n".encode()):
        assert shown(pieces) == "é日🙂\n"


def test_an_escape_sequence_may_be_cut_in_two() -> None:
    for pieces in every_split(b"\x1b[2J\xc2\x9b"):
        assert shown(pieces) == r"\x1b[2J\x9b"


@given(st.binary())
def test_the_result_does_not_depend_on_the_split(data: bytes) -> None:
    for pieces in every_split(data):
        assert shown(pieces) == shown([data])


def test_half_a_character_is_kept_for_the_next_chunk() -> None:
    screen = EscapingDecoder()
    assert [screen.feed(b"a\xc3"), screen.feed(b"\xa9")] == ["a", "é"]


def test_an_incomplete_character_at_the_end_is_escaped() -> None:
    assert shown([b"\xe6\x97"]) == r"\xe6\x97"


def test_bytes_that_are_not_utf8_are_escaped() -> None:
    assert shown([b"a\xffb"]) == r"a\xffb"


def test_a_message_is_quoted_as_text() -> None:
    assert quoted("héllo\n".encode()) == r"'héllo\n'"


def test_a_message_that_is_not_utf8_is_quoted_as_bytes() -> None:
    assert quoted(b"\xff\n") == r"b'\xff\n'"


@given(st.binary())
def test_a_quoted_message_is_one_line_without_control_characters(message: bytes) -> None:
    assert quoted(message).isprintable()


@given(st.binary())
def test_a_quoted_message_can_be_read_back(message: bytes) -> None:
    value = ast.literal_eval(quoted(message))
    assert (value.encode() if isinstance(value, str) else value) == message
