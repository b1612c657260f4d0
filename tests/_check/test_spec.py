"""Tests of the specs: placeholders in the command, and the expected reply."""

from pathlib import Path

import pytest

from halloo._check.spec import ClientSpec, ServerSpec, Shape, Stdin, parse_transform
from halloo._core.address import Address
from halloo.errors import UsageError


def words(*command: str, folder: str = "") -> list[str]:
    return ServerSpec(command=command, folder=folder).argv(host="127.0.0.1", port="8889", path="/tmp/echo")  # noqa: S108 - only a word


def test_a_placeholder_is_replaced_and_other_words_are_kept() -> None:
    assert words(
        "{port}", "PORT", "HOST", "{host}:{port}", "HOST:PORT", "-p{port}", "--port=PORT", "tcp://HOST:PORT"
    ) == [
        *("8889", "8889", "127.0.0.1", "127.0.0.1:8889", "127.0.0.1:8889", "-p8889"),
        *("--port=8889", "tcp://127.0.0.1:8889"),
    ]
    script = "cd x && exec ./server 'PORT', {port}{port}"
    assert words(script, "TCP:HOST:PORT,reuseaddr") == [
        "cd x && exec ./server '8889', 88898889",
        "TCP:127.0.0.1:8889,reuseaddr",
    ]


def test_what_looks_like_a_placeholder_and_is_none_is_kept() -> None:
    others = ["{dir}", "DIR", "{msg}", "{path}", "PATH", "port", "PORTS", "EXPORT", "{}", "hosts", "zażółć\udcff", ""]
    assert words(*others) == others
    shell = [
        "$PORT",
        "${PORT}",
        "${port}",
        "${PORT:-8888}",
        "PORT=8888 exec x",
        "PORT = 1",
        "PATH=/bin:$PATH",
        "f() { x $HOST; }",
    ]
    assert words(*shell) == shell
    parts = [
        "/x/PORT/y",
        "./PORT",
        "PORT/server.py",
        "PORT.py",
        "x.PORT",
        "MY_PORT",
        "--PORT",
        "xPORT",
        "PORT8",
        "{PORT}",
        "żPORT",
    ]
    assert words(*parts) == parts
    code = ["x = {'port': 1, 'a': {}}", "{port!r}", "{ port }", "{{}}", "{0}", "%(port)s", "%s", "{", "}"]
    assert words(*code) == code


def test_the_path_of_a_socket_is_a_placeholder_for_a_unix_server_alone() -> None:
    spec = ServerSpec(command=("unix:{path}", "PATH", "PORT", "PATH=/bin", "$PATH"), scheme="unix")
    assert spec.argv(host="h", port="0", path="/s") == ["unix:/s", "/s", "PORT", "PATH=/bin", "$PATH"]
    with pytest.raises(UsageError, match="no placeholder for the socket's path; write"):
        ServerSpec(command=("server", "PORT"), scheme="unix")


@pytest.mark.parametrize(
    "folder", ["subs/anna", "PORT", "subs/DIRK", "{port}", "{dir}", "HOST:PORT", r"\1", "DIR", "a b"]
)
def test_the_name_of_a_folder_is_no_placeholder(folder: str) -> None:
    command = (
        "{dir}/server.py",
        "DIR",
        "cd DIR && ./server {port}",
        "'DIR/server.py'",
        "--port=PORT",
        "/x/DIR",
        "DIRK",
    )
    assert words(*command, folder=folder) == [
        *(f"{folder}/server.py", folder, f"cd {folder} && ./server 8889", f"'{folder}/server.py'"),
        *("--port=8889", "/x/DIR", "DIRK"),
    ]


def test_a_placeholder_for_the_port_is_detected() -> None:
    assert not ServerSpec(command=("python", "echo.py", "HOST")).has_placeholder
    assert ServerSpec(command=("python", "echo.py", "PORT")).has_placeholder


def test_a_spec_is_named_as_it_was_written() -> None:
    assert ServerSpec(command=("python", "echo.py", "PORT")).name == "python echo.py PORT"
    assert ServerSpec(address=Address("tcp", "localhost", 8888)).name == "tcp://localhost:8888"


def test_each_line_is_transformed_and_its_newline_kept() -> None:
    expected = {None: b"one\n\nTwo\0", "upper": b"ONE\n\nTWO\0", "lower": b"one\n\ntwo\0", "reverse": b"eno\n\n\0owT"}
    for name, reply in expected.items():
        found = ServerSpec(command=("x",), expect=parse_transform(name))
        assert found.expected_reply(b"one\n\nTwo\0") == reply


def test_a_function_of_a_module_can_be_the_transformation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assignment_of_a_course.py").write_text("def twice(line):\n    return line * 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    found = parse_transform("assignment_of_a_course:twice")
    assert found
    assert found(b"ha") == b"haha"


def test_an_invalid_transformation_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "this_module_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    missing = ("no_such_module:f", "base64:no_such_function", ":f", "..:f", "this_module_exits:f")
    for text, fault in {
        "louder": "'louder' names no function",
        "string:digits": "is not callable",
        **dict.fromkeys(missing, "cannot be imported"),
    }.items():
        with pytest.raises(UsageError, match=fault):
            parse_transform(text)


def spec(*words: str, stdin: Stdin | None = None) -> ClientSpec:
    return ClientSpec(command=words, stdin=stdin, port=8888)


def test_placeholders_of_a_client_are_replaced_and_other_words_are_kept() -> None:
    words = ("{host}", "{port}", "HOST", "udp://HOST:PORT", "PORTAL", "LOCALHOST", "{ports}", "MSG", "{msg}")
    assert spec("{path}", "{dir}", "DIR", "PATH").argv(host="h", port="7", msg="x") == [
        "{path}",
        "{dir}",
        "DIR",
        "PATH",
    ]
    assert spec(*words).argv(host="::1", port="7", msg="HOST {port}\udcff") == [
        *("::1", "7", "::1", "udp://::1:7", "PORTAL", "LOCALHOST", "{ports}"),
        *("HOST {port}\udcff", "HOST {port}\udcff"),  # what is in a message is no placeholder
    ]


def test_the_shape_follows_from_the_command_and_stdin() -> None:
    shapes: dict[tuple[str, Stdin | None], Shape] = {
        ("client", None): "typed",
        ("client", "pty"): "typed",
        ("client", "pipe"): "piped",
        ("client", "none"): "own",
        ("MSG", None): "argument",
        ("{msg}", "none"): "argument",
        ("MSG", "pipe"): "piped",
    }
    assert {key: spec(key[0], stdin=key[1]).shape for key in shapes} == shapes


def test_the_command_shows_whether_it_takes_a_port_and_a_host() -> None:
    assert spec("PORT", "MSG", "{path}").placeholders == {"port", "msg"}
    assert [spec(word).by_name for word in ("PORT", "localhost", "HOST", "127.0.0.1")] == [False, True, True, False]
