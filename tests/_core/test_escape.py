import ast

from hypothesis import example, given
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


def test_control_characters_are_escaped_and_harmless_text_is_unchanged() -> None:
    escaped = {
        "\x1b[31mred": r"\x1b[31mred",
        "over\rwritten": r"over\rwritten",
        "\b\a\x7f\0": r"\x08\x07\x7f\x00",
        "\x9b2J": r"\x9b2J",
        "\u202etxt.exe": r"\u202etxt.exe",
        "zero\u200bwidth": r"zero\u200bwidth",
    }
    assert {text: printable(text) for text in escaped} == escaped
    for text in ("", "plain", "two\nlines\n", "a\ttab", "héllo, wörld", "日本", "🙂", "'quoted' \\ \""):
        assert printable(text) == text


def test_characters_and_escape_sequences_may_be_cut_in_two() -> None:
    for data, text in (("é日🙂\n".encode(), "é日🙂\n"), (b"\x1b[2J\xc2\x9b", r"\x1b[2J\x9b")):
        assert {shown(pieces) for pieces in every_split(data)} == {text}
    screen = EscapingDecoder()
    assert [screen.feed(b"a\xc3"), screen.feed(b"\xa9")] == ["a", "é"]
    assert [shown([b"\xe6\x97"]), shown([b"a\xffb"])] == [r"\xe6\x97", r"a\xffb"]


@given(st.binary())
def test_the_result_does_not_depend_on_the_split(data: bytes) -> None:
    for pieces in every_split(data):
        assert shown(pieces) == shown([data])


@given(st.binary())
@example("héllo\n".encode())
@example(b"\xff\n")
def test_a_quoted_message_is_one_line_and_can_be_read_back(message: bytes) -> None:
    assert quoted(message).isprintable()
    value = ast.literal_eval(quoted(message))
    assert (value.encode() if isinstance(value, str) else value) == message
