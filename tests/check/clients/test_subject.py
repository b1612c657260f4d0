import pytest

from halloo.check.clients.subject import ClientSubject, Shape, Stdin


def subject(*words: str, stdin: Stdin | None = None) -> ClientSubject:
    return ClientSubject(command=words, stdin=stdin)


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
