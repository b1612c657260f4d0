import pytest

from halloo._check.client.output_match import is_traceback, pattern_of, shown_length, shows

NON_ASCII = "zażółć-日本-🙂"


@pytest.mark.parametrize(
    "output",
    [
        b"hello",
        b"hello\r\n",
        b"Send:Received 'hello'\nSend:",
        b"Received b'hello'\n",
        b'got "hello"\n',
        b"Received 'he'\nReceived 'llo'\n",
        b"b'h'\nb'e'\nb'l'\nb'l'\nb'o'\n",
        b"Echo: he\nEcho: llo\n",
        b"h\ne\nl\nl\no\n",
    ],
)
def test_a_reply_is_found_in_many_formats(output: bytes) -> None:
    assert shows(output, b"hello\n")


@pytest.mark.parametrize("output", [b"", b"Send:", b"Received 'hell'\n", b"Received 'helo'\n", b"olleh"])
def test_other_output_is_no_reply(output: bytes) -> None:
    assert not shows(output, b"hello")


@pytest.mark.parametrize("form", [NON_ASCII, repr(NON_ASCII), ascii(NON_ASCII), repr(NON_ASCII.encode())])
def test_non_ascii_text_may_be_escaped(form: str) -> None:
    assert shows(f"Received {form}\n".encode(), NON_ASCII.encode())


def test_split_characters_may_be_escaped() -> None:
    data = NON_ASCII.encode()
    assert shows(f"{data[:3]!r}\n{data[3:]!r}\n".encode(), data)


def test_replacement_characters_are_no_reply() -> None:
    data = NON_ASCII.encode()
    pieces = data[:3].decode(errors="replace") + data[3:].decode(errors="replace")
    assert not shows(pieces.encode(), data)


@pytest.mark.parametrize("form", [b"\x00\xff", rb"b'\x00\xff'", rb"'\x00\xff'"])
def test_binary_data_may_be_escaped(form: bytes) -> None:
    assert shows(b"Received " + form, b"\x00\xff")


def test_the_shown_length_is_counted() -> None:
    reply = bytes(range(65, 91)) * 100
    assert (shown_length(reply[:1024], reply), shown_length(b"", reply), shown_length(reply, reply)) == (
        1024,
        0,
        2600,
    )


@pytest.mark.parametrize(("count", "pattern"), [(0, "silent"), (1024, "round"), (1000, "round"), (7, "short")])
def test_an_incomplete_reply_has_a_pattern(count: int, pattern: str) -> None:
    assert pattern_of(count) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):\n",
        'Exception in thread "main" java.net.ConnectException: Connection refused\n\tat java.base/x(Net.java:9)\n',
        "panic: dial tcp\n\ngoroutine 1\n",
        "thread 'main' panicked at src/main.rs:5\n",
    ],
)
def test_tracebacks_of_several_languages_are_recognized(text: str) -> None:
    assert is_traceback(text)


@pytest.mark.parametrize("text", ["", "client: connection refused", "panic was avoided"])
def test_an_error_message_is_no_traceback(text: str) -> None:
    assert not is_traceback(text)
