from halloo._check.client.output_match import is_traceback, pattern_of, shown_length, shows, shows_in_order

NON_ASCII = "zażółć-日本-🙂"


def test_a_reply_is_found_in_many_formats_but_not_in_other_output() -> None:
    for output in (
        b"hello",
        b"hello\r\n",
        b"Send:Received 'hello'\nSend:",
        b"Received b'hello'\n",
        b'got "hello"\n',
        b"Received 'he'\nReceived 'llo'\n",
        b"b'h'\nb'e'\nb'l'\nb'l'\nb'o'\n",
        b"Echo: he\nEcho: llo\n",
        b"h\ne\nl\nl\no\n",
    ):
        assert shows(output, b"hello\n"), output
    for output in (b"", b"Send:", b"Received 'hell'\n", b"Received 'helo'\n", b"olleh"):
        assert not shows(output, b"hello"), output


def test_non_ascii_text_may_be_escaped_but_not_replaced() -> None:
    data = NON_ASCII.encode()
    for form in (NON_ASCII, repr(NON_ASCII), ascii(NON_ASCII), repr(data), f"{data[:3]!r}\n{data[3:]!r}"):
        assert shows(f"Received {form}\n".encode(), data)
    pieces = data[:3].decode(errors="replace") + data[3:].decode(errors="replace")
    assert not shows(pieces.encode(), data)
    for binary in (b"\x00\xff", rb"b'\x00\xff'", rb"'\x00\xff'"):
        assert shows(b"Received " + binary, b"\x00\xff")


def test_the_shown_length_is_counted_and_has_a_pattern() -> None:
    reply = bytes(range(65, 91)) * 100
    assert [shown_length(shown, reply) for shown in (reply[:1024], b"", reply)] == [1024, 0, 2600]
    assert [*map(pattern_of, (0, 1024, 7))] == ["nothing-shown", "cut at-1024", "cut at-7"]


TRACEBACKS = (
    "Traceback (most recent call last):\n",
    'Exception in thread "main" java.net.ConnectException: Connection refused\n\tat java.base/x(Net.java:9)\n',
    "panic: dial tcp\n\ngoroutine 1\n",
    "thread 'main' panicked at src/main.rs:5\n",
)


def test_tracebacks_of_several_languages_are_recognized() -> None:
    assert all(map(is_traceback, TRACEBACKS))
    assert not any(map(is_traceback, ("", "client: connection refused", "panic was avoided")))


def test_pieces_may_have_labels_without_line_ends() -> None:
    assert shows_in_order(b"Server: heServer: lServer: lo", b"hello\n")
    assert not shows_in_order(b"Server: heServer: l", b"hello")
