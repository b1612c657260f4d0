import pytest

from halloo._check.client.output_match import extent, is_traceback, pattern_of, shown

LETTERS = "zażółć-日本-🙂"


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
def test_an_answer_is_shown_in_many_shapes(output: bytes) -> None:
    assert shown(output, b"hello\n")


@pytest.mark.parametrize("output", [b"", b"Send:", b"Received 'hell'\n", b"Received 'helo'\n", b"olleh"])
def test_something_else_is_not_the_answer(output: bytes) -> None:
    assert not shown(output, b"hello")


@pytest.mark.parametrize("form", [LETTERS, repr(LETTERS), ascii(LETTERS), repr(LETTERS.encode())])
def test_letters_may_be_spelled_out(form: str) -> None:
    assert shown(f"Received {form}\n".encode(), LETTERS.encode())


def test_letters_cut_in_two_may_be_spelled_out() -> None:
    data = LETTERS.encode()
    assert shown(f"{data[:3]!r}\n{data[3:]!r}\n".encode(), data)


def test_letters_that_were_replaced_are_not_the_answer() -> None:
    data = LETTERS.encode()
    pieces = data[:3].decode(errors="replace") + data[3:].decode(errors="replace")
    assert not shown(pieces.encode(), data)


@pytest.mark.parametrize("form", [b"\x00\xff", rb"b'\x00\xff'", rb"'\x00\xff'"])
def test_bytes_that_are_no_text_may_be_spelled_out(form: bytes) -> None:
    assert shown(b"Received " + form, b"\x00\xff")


def test_how_much_is_shown_is_counted() -> None:
    answer = bytes(range(65, 91)) * 100
    assert (extent(answer[:1024], answer), extent(b"", answer), extent(answer, answer)) == (1024, 0, 2600)


@pytest.mark.parametrize(("count", "pattern"), [(0, "silent"), (1024, "round"), (1000, "round"), (7, "short")])
def test_an_incomplete_answer_has_a_pattern(count: int, pattern: str) -> None:
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
def test_the_inside_of_a_program_is_known(text: str) -> None:
    assert is_traceback(text)


@pytest.mark.parametrize("text", ["", "client: connection refused", "panic was avoided"])
def test_a_sentence_is_no_inside(text: str) -> None:
    assert not is_traceback(text)
