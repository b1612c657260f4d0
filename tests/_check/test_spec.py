"""Tests of who is checked: a command with places to fill in, and what is expected of it."""

from pathlib import Path

import pytest

from halloo._check.spec import ClientSpec, ServerSpec, Shape, Stdin, expectation
from halloo._core.address import Address
from halloo.errors import UsageError


def words(*command: str) -> list[str]:
    return ServerSpec(command=command).words("127.0.0.1", 8889, "/tmp/echo")  # noqa: S108 - only a word


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("{port}", "8889"),
        ("PORT", "8889"),
        ("HOST", "127.0.0.1"),
        ("{host}:{port}", "127.0.0.1:8889"),
        ("HOST:PORT", "127.0.0.1:8889"),
        ("localhost:PORT", "localhost:8889"),
        ("--port={port}", "--port=8889"),
        ("-p{port}", "-p8889"),
        ("unix:{path}", "unix:/tmp/echo"),
        ("PATH", "/tmp/echo"),  # noqa: S108 - only a word
    ],
)
def test_a_place_is_filled_in(word: str, filled: str) -> None:
    assert words("serve", word) == ["serve", filled]


@pytest.mark.parametrize("word", ["{dir}", "port", "PORTS", "EXPORT", "{}", "hosts"])
def test_other_words_stay(word: str) -> None:
    assert words(word) == [word]


def test_a_command_without_a_place_for_its_port_has_none() -> None:
    assert not ServerSpec(command=("python", "echo.py", "HOST")).places
    assert ServerSpec(command=("python", "echo.py", "PORT")).places


def test_a_subject_is_named_as_it_was_written() -> None:
    assert ServerSpec(command=("python", "echo.py", "PORT")).name == "python echo.py PORT"
    assert ServerSpec(address=Address("tcp", "localhost", 8888)).name == "tcp://localhost:8888"


def test_an_echo_is_expected_to_change_nothing() -> None:
    assert ServerSpec(command=("x",)).expected(b"any\0 bytes\n") == b"any\0 bytes\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("upper", b"ONE\nTWO\n"), ("lower", b"one\ntwo\n"), ("reverse", b"eno\nowt\n")],
)
def test_each_line_is_made_of_and_its_newline_kept(name: str, expected: bytes) -> None:
    assert ServerSpec(command=("x",), expect=expectation(name)).expected(b"one\ntwo\n") == expected


def test_an_empty_line_stays_empty() -> None:
    assert ServerSpec(command=("x",), expect=lambda line: b"<" + line + b">").expected(b"\na") == b"\n<a>"


def test_nothing_need_be_expected() -> None:
    assert expectation(None) is None


def test_a_function_of_a_module_can_be_expected() -> None:
    found = expectation("base64:b64encode")
    assert found
    assert found(b"hi") == b"aGk="


def test_a_function_of_a_module_here_can_be_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assignment_of_a_course.py").write_text("def twice(line):\n    return line * 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    found = expectation("assignment_of_a_course:twice")
    assert found
    assert found(b"ha") == b"haha"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("louder", "'louder' is no expectation"),
        ("no_such_module:f", "cannot be imported"),
        ("base64:no_such_function", "cannot be imported"),
        ("string:digits", "is no function"),
    ],
)
def test_an_expectation_that_leads_nowhere_is_an_error_of_use(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        expectation(text)


def subject(*words: str, stdin: Stdin | None = None) -> ClientSpec:
    return ClientSpec(command=words, stdin=stdin)


@pytest.mark.parametrize("words", [("{host}", "{port}"), ("HOST", "PORT")])
def test_places_are_filled_in(words: tuple[str, str]) -> None:
    assert subject("client", *words).words(host="::1", port=8888) == [b"client", b"::1", b"8888"]


@pytest.mark.parametrize("word", ["udp://HOST:PORT", "udp://{host}:{port}"])
def test_places_may_be_within_a_word(word: str) -> None:
    assert subject(word).words(host="localhost", port=7) == [b"udp://localhost:7"]


def test_what_only_looks_like_a_place_stays() -> None:
    words = ("PORTAL", "LOCALHOST", "MSG_PEEK", "{ports}")
    assert subject(*words).words(host="h", port=1) == [word.encode() for word in words]


@pytest.mark.parametrize("place", ["{msg}", "MSG"])
def test_a_message_may_hold_places_itself(place: str) -> None:
    assert subject(place).words(host="h", port=1, message=b"HOST {port}") == [b"HOST {port}"]


@pytest.mark.parametrize(
    ("words", "stdin", "shape"),
    [
        (("client",), None, "typed"),
        (("client",), "pty", "typed"),
        (("client",), "pipe", "piped"),
        (("client",), "none", "own"),
        (("client", "MSG"), None, "told"),
        (("client", "{msg}"), "none", "told"),
        (("client", "MSG"), "pipe", "piped"),
    ],
)
def test_the_command_tells_its_shape(words: tuple[str, ...], stdin: Stdin | None, shape: Shape) -> None:
    assert subject(*words, stdin=stdin).shape == shape


@pytest.mark.parametrize(
    ("words", "takes_port", "by_name"),
    [(("PORT",), True, False), (("localhost",), False, True), (("HOST",), False, True), (("127.0.0.1",), False, False)],
)
def test_the_command_tells_what_it_takes(words: tuple[str, ...], *, takes_port: bool, by_name: bool) -> None:
    assert (subject(*words).takes_port, subject(*words).by_name) == (takes_port, by_name)
