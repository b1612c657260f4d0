import io
import os
from collections.abc import Iterator

import pytest

from halloo._output.terminal import folded, shortened_names, width_of

termios = pytest.importorskip("termios", reason="needs terminals")


@pytest.fixture
def screen() -> Iterator[int]:
    keyboard, screen = os.openpty()
    yield screen
    os.close(keyboard)
    os.close(screen)


def test_the_width_is_that_of_the_terminal_unless_columns_tells_another(
    monkeypatch: pytest.MonkeyPatch, screen: int
) -> None:
    for told, size, width in (("", 60, 60), ("", 0, 80), ("0", 60, 60), ("x", 60, 60), ("100", 60, 100), ("1", 60, 20)):
        monkeypatch.setenv("COLUMNS", told)
        termios.tcsetwinsize(screen, (24, size))
        assert width_of(screen) == width


def test_what_is_no_terminal_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    with open(os.devnull) as null:  # noqa: PTH123 - a device
        assert [width_of(stream) for stream in (null, null.fileno(), io.StringIO(), closed, None)] == [None] * 5


def test_a_message_is_folded_between_words_and_what_is_copied_stays_whole() -> None:
    text = f"halloo: 100 % of it; give --cert {'x' * 40}, or start it with: halloo serve localhost:9 -4"
    assert folded(text, 20).splitlines() == [
        "halloo: 100 % of it;",
        "  give",
        f"  --cert {'x' * 40},",
        "  or start it with:",
        "  halloo serve localhost:9 -4",
    ]
    assert folded(text, None) == folded(text, 1000) == text


@pytest.mark.parametrize("room", [20, 40])
def test_shortened_names_remain_distinct(room: int) -> None:
    names = [f"tcp://probe-{number}.long.example.com:8888 flow 1" for number in range(3)]
    short = shortened_names([*names, "short"], room)
    assert [len(name) for name in short] == [room] * 3 + [5]
    assert len(set(short)) == 4
