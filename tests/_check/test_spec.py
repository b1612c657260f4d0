"""Tests of the specs: placeholders in the command, and the expected reply."""

from pathlib import Path

import pytest

from halloo._check.spec import ClientSpec, ServerSpec, Shape, Stdin, parse_transform
from halloo._core.address import Address
from halloo.errors import UsageError


def words(*command: str) -> list[str]:
    return ServerSpec(command=command).argv("127.0.0.1", 8889, "/tmp/echo")  # noqa: S108 - only a word


@pytest.mark.parametrize(
    ("word", "replaced"),
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
def test_a_placeholder_is_replaced(word: str, replaced: str) -> None:
    assert words("serve", word) == ["serve", replaced]


@pytest.mark.parametrize("word", ["{dir}", "port", "PORTS", "EXPORT", "{}", "hosts"])
def test_other_words_are_kept(word: str) -> None:
    assert words(word) == [word]


def test_a_placeholder_for_the_port_is_detected() -> None:
    assert not ServerSpec(command=("python", "echo.py", "HOST")).has_placeholder
    assert ServerSpec(command=("python", "echo.py", "PORT")).has_placeholder


def test_a_spec_is_named_as_it_was_written() -> None:
    assert ServerSpec(command=("python", "echo.py", "PORT")).name == "python echo.py PORT"
    assert ServerSpec(address=Address("tcp", "localhost", 8888)).name == "tcp://localhost:8888"


def test_a_plain_echo_is_expected_to_change_nothing() -> None:
    assert ServerSpec(command=("x",)).expected_reply(b"any\0 bytes\n") == b"any\0 bytes\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("upper", b"ONE\nTWO\n"), ("lower", b"one\ntwo\n"), ("reverse", b"eno\nowt\n")],
)
def test_each_line_is_transformed_and_its_newline_kept(name: str, expected: bytes) -> None:
    assert ServerSpec(command=("x",), expect=parse_transform(name)).expected_reply(b"one\ntwo\n") == expected


def test_an_empty_line_stays_empty() -> None:
    assert ServerSpec(command=("x",), expect=lambda line: b"<" + line + b">").expected_reply(b"\na") == b"\n<a>"


def test_the_transformation_is_optional() -> None:
    assert parse_transform(None) is None


def test_a_function_of_a_module_can_be_the_transformation() -> None:
    found = parse_transform("base64:b64encode")
    assert found
    assert found(b"hi") == b"aGk="


def test_a_function_of_a_module_in_the_current_folder_can_be_the_transformation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assignment_of_a_course.py").write_text("def twice(line):\n    return line * 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    found = parse_transform("assignment_of_a_course:twice")
    assert found
    assert found(b"ha") == b"haha"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("louder", "'louder' is not a known transformation"),
        ("no_such_module:f", "cannot be imported"),
        ("base64:no_such_function", "cannot be imported"),
        (":f", "cannot be imported"),
        ("..:f", "cannot be imported"),
        ("this_module_exits:f", "cannot be imported"),
        ("string:digits", "is not callable"),
    ],
)
def test_an_invalid_transformation_is_a_usage_error(
    text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "this_module_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=fault):
        parse_transform(text)


def spec(*words: str, stdin: Stdin | None = None) -> ClientSpec:
    return ClientSpec(command=words, stdin=stdin)


@pytest.mark.parametrize("words", [("{host}", "{port}"), ("HOST", "PORT")])
def test_placeholders_of_a_client_are_replaced(words: tuple[str, str]) -> None:
    assert spec("client", *words).argv(host="::1", port=8888) == [b"client", b"::1", b"8888"]


@pytest.mark.parametrize("word", ["udp://HOST:PORT", "udp://{host}:{port}"])
def test_placeholders_may_be_part_of_a_word(word: str) -> None:
    assert spec(word).argv(host="localhost", port=7) == [b"udp://localhost:7"]


def test_words_that_only_resemble_a_placeholder_are_kept() -> None:
    words = ("PORTAL", "LOCALHOST", "MSG_PEEK", "{ports}")
    assert spec(*words).argv(host="h", port=1) == [word.encode() for word in words]


@pytest.mark.parametrize("placeholder", ["{msg}", "MSG"])
def test_placeholders_in_a_message_are_kept(placeholder: str) -> None:
    assert spec(placeholder).argv(host="h", port=1, message=b"HOST {port}") == [b"HOST {port}"]


@pytest.mark.parametrize(
    ("words", "stdin", "shape"),
    [
        (("client",), None, "typed"),
        (("client",), "pty", "typed"),
        (("client",), "pipe", "piped"),
        (("client",), "none", "own"),
        (("client", "MSG"), None, "argument"),
        (("client", "{msg}"), "none", "argument"),
        (("client", "MSG"), "pipe", "piped"),
    ],
)
def test_the_shape_follows_from_the_command_and_stdin(
    words: tuple[str, ...], stdin: Stdin | None, shape: Shape
) -> None:
    assert spec(*words, stdin=stdin).shape == shape


@pytest.mark.parametrize(
    ("words", "takes_port", "by_name"),
    [(("PORT",), True, False), (("localhost",), False, True), (("HOST",), False, True), (("127.0.0.1",), False, False)],
)
def test_the_command_shows_whether_it_takes_a_port_and_a_host(
    words: tuple[str, ...], *, takes_port: bool, by_name: bool
) -> None:
    assert (spec(*words).takes_port, spec(*words).by_name) == (takes_port, by_name)
