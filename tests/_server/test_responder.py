"""What `respond` returns and raises: nothing of it ends the loop."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import halloo
from halloo._net.listener import listen
from halloo._net.signals import SECOND_STOP
from halloo._server.handlers import RespondHandler
from halloo._server.responder import (
    MAX_KEPT,
    MAX_WAITING,
    Failures,
    Respond,
    Responder,
    RespondError,
    flush_log,
    log,
    log_failure,
)
from halloo._server.running import RunningServer, Service

TIMEOUT = 20  # seconds without a byte, after which the test fails


def raising(error: BaseException) -> Respond:
    def respond(message: bytes) -> bytes:
        if message == b"wrong\n":
            raise error
        return message

    return respond


def returning(answer: object) -> Respond:
    return lambda message: answer if message == b"wrong\n" else message  # type: ignore[return-value]  # on purpose


def outcome(end: Callable[[str], object]) -> BaseException:
    with pytest.raises(BaseException, match="in respond") as caught:
        end("in respond")
    return caught.value


FAILURES: dict[str, Respond] = {
    "str": returning("text"),
    "int": returning(5),
    "coroutine-like": returning(object()),
    "Exception": raising(ZeroDivisionError()),
    "AssertionError": raising(AssertionError()),
    "StopIteration": raising(StopIteration()),
    "SystemExit": raising(SystemExit(0)),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "GeneratorExit": raising(GeneratorExit()),
    "pytest.fail": raising(outcome(pytest.fail)),
    "pytest.skip": raising(outcome(pytest.skip)),
    "pytest.exit": raising(outcome(pytest.exit)),
}


# The answer.


def test_an_answer_may_be_any_bytes_or_none() -> None:
    for answer in (b"hi", bytearray(b"hi"), memoryview(b"h-i-")[::2]):
        assert Responder(returning(answer))(b"wrong\n") == b"hi"
    assert Responder(returning(None))(b"wrong\n") is None


@pytest.fixture
def reported() -> list[BaseException]:
    return []


def test_another_answer_is_reported_with_its_type(reported: list[BaseException]) -> None:
    for answer in ("hi", 5, object()):
        with pytest.raises(RespondError):
            Responder(returning(answer), reported.append)(b"wrong\n")
    assert [str(error) for error in reported] == [
        f"respond returned {kind}, which is neither bytes nor None; encode text: text.encode()"
        for kind in ("str", "int", "object")
    ]


def test_an_error_is_reported_itself_and_a_keyboard_interrupt_in_the_main_thread_too(
    reported: list[BaseException],
) -> None:
    errors: list[BaseException] = [SystemExit(), KeyboardInterrupt()]
    for error in errors:
        with pytest.raises(RespondError):
            Responder(raising(error), reported.append)(b"wrong\n")
    assert reported == errors


def test_a_second_stop_signal_is_not_an_error_of_respond(reported: list[BaseException]) -> None:
    with pytest.raises(KeyboardInterrupt):
        Responder(raising(KeyboardInterrupt(SECOND_STOP)), reported.append)(b"wrong\n")
    assert reported == []


# What it raises.


@pytest.fixture
def failures() -> Iterator[Failures]:
    yield Failures()
    flush_log()


def test_without_exceptions_nothing_is_raised_or_noted(failures: Failures) -> None:
    failures.raise_all()
    error = ValueError()
    failures.raise_all(error)
    assert not hasattr(error, "__notes__")


def test_one_exception_or_outcome_of_pytest_is_raised_as_it_is_and_once(failures: Failures) -> None:
    for error in (SystemExit(3), outcome(pytest.fail)):
        failures.add(error)
        with pytest.raises(type(error)) as caught:
            failures.raise_all()
        assert caught.value is error
        failures.raise_all()


def test_several_are_an_exception_group_and_with_an_exit_among_them_a_base_exception_group(failures: Failures) -> None:
    for other, group in ((AssertionError(), True), (SystemExit(), False)):
        for error in (ValueError(), other):
            failures.add(error)
        with pytest.raises(BaseExceptionGroup) as caught:
            failures.raise_all()
        assert isinstance(caught.value, ExceptionGroup) == group


def test_only_the_first_are_kept_and_the_others_counted(failures: Failures) -> None:
    for number in range(MAX_KEPT + 5):
        failures.add(ValueError(number))
    with pytest.raises(ExceptionGroup) as caught:
        failures.raise_all()
    assert caught.value.message == "respond raised 15 exceptions, of which these are the first 10"
    assert [error.args for error in caught.value.exceptions] == [(number,) for number in range(MAX_KEPT)]


def test_a_note_has_the_text_without_terminal_codes(failures: Failures) -> None:
    failures.add(ValueError("\x1b[31mred"))
    other = KeyError()
    failures.raise_all(other)
    [note] = other.__notes__
    assert note == "respond raised an exception:\n  ValueError: \\x1b[31mred"


# The log.


def test_errors_are_logged_with_their_traceback_without_control_characters(
    failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("\x1b[31mred\r\x9b\nERROR forged")
    failures.add(error)
    flush_log()
    [record] = caplog.records
    assert (record.name, record.levelname) == ("halloo", "ERROR")
    assert record.exc_info
    assert record.exc_info[1] is error
    text = logging.Formatter("%(levelname)s %(message)s").format(record)  # of the program
    assert text.splitlines()[1:] == [r"  ValueError: \x1b[31mred\r\x9b", "  ERROR forged"]


def test_errors_beyond_those_that_may_wait_for_the_log_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    entered, opened = threading.Event(), threading.Event()

    class Blocked(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - its signature
            entered.set()
            opened.wait(TIMEOUT)

    blocked = Blocked()
    log.addHandler(blocked)
    try:
        log_failure(ValueError())
        assert entered.wait(TIMEOUT)
        for _ in range(MAX_WAITING + 5):
            log_failure(ValueError())
    finally:
        opened.set()
        flush_log()
        log.removeHandler(blocked)
    assert caplog.messages[-1] == "5 more errors of respond are not shown, because the log was not read"


def test_errors_are_not_logged_when_the_level_of_the_log_excludes_them(caplog: pytest.LogCaptureFixture) -> None:
    log.setLevel(logging.CRITICAL)
    try:
        log_failure(ValueError())
        flush_log()
    finally:
        log.setLevel(logging.NOTSET)
    assert not caplog.records


@pytest.fixture
def _no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "hasHandlers", lambda: False)  # pytest adds handlers to every log


@pytest.mark.usefixtures("_no_handlers")
def test_without_a_configured_log_errors_go_to_standard_error_unless_it_is_disabled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log_failure(ValueError("\x1b[31mred\nERROR forged"))
    flush_log()
    monkeypatch.setattr(log, "disabled", True)
    log_failure(ValueError())
    flush_log()
    assert capsys.readouterr().err.splitlines() == [
        "respond failed; its connection is closed, or its datagram has no answer; others are not affected",
        r"  ValueError: \x1b[31mred",
        "  ERROR forged",
    ]


# The loop.


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def exchange(client: socket.socket, message: bytes) -> bytes:
    """Send a message; return the answer, empty if the connection ends instead."""
    with suppress(ConnectionResetError):
        client.sendall(message)
        return client.recv(100)
    return b""


@pytest.mark.parametrize("respond", FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_ends_one_connection_and_is_logged_once(
    respond: Respond, cleanup: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(handler=RespondHandler(respond, "raw", b""))
    server = cleanup.enter_context(RunningServer(listen("127.0.0.1:0"), service))
    server.start()
    place = ("127.0.0.1", server.address.port)
    failing, other = (cleanup.enter_context(socket.create_connection(place, TIMEOUT)) for _ in range(2))
    assert exchange(failing, b"wrong\n") == b""
    assert exchange(other, b"right\n") == b"right\n"
    flush_log()
    assert len(caplog.records) == 1
    assert server.snapshot().errors == {"respond": 1}


@pytest.mark.parametrize(
    ("place", "framing"), [("tcp://127.0.0.1:0", "line"), ("tls://127.0.0.1:0", "raw"), ("unix:echo", "length")]
)
def test_every_stream_and_framing_survives_a_wrong_answer(
    place: str, framing: halloo.Framing, cleanup: ExitStack, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    cleanup.enter_context(contextlib.chdir(tmp_path))
    message = {"line": b"\n", "raw": b"x", "length": bytes(4)}[framing]
    handler = RespondHandler(lambda _message: "text", framing, b"")  # type: ignore[arg-type,return-value]  # on purpose
    if place.startswith("unix") and not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    listener = listen(place)
    context = listener.tls_server.context if listener.secure else None
    service = Service(handler=handler, context=context)
    server = cleanup.enter_context(RunningServer(listener, service))
    server.start()
    tls = listener.client_context() if listener.secure else None
    for count in (1, 2):
        with halloo.connect(server.address, tls=tls, timeout=TIMEOUT) as client, suppress(halloo.Reset):
            client.send(message)
            assert client.receive() == b""
        flush_log()
        assert len(caplog.records) == count


def test_an_answer_too_long_for_its_length_is_a_failure(
    cleanup: ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halloo._core.framing._PREFIX_SIZE", 1)  # an answer of 4 GiB would take too long
    service = Service(handler=RespondHandler(lambda _message: bytes(256), "length", b""))
    server = cleanup.enter_context(RunningServer(listen("127.0.0.1:0"), service))
    server.start()
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", server.address.port), TIMEOUT) as client:
            assert exchange(client, bytes(1)) == b""
    flush_log()
    assert len(caplog.records) == 2


def test_a_failure_costs_one_datagram_its_answer(cleanup: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(responder=Responder(FAILURES["SystemExit"]))
    server = cleanup.enter_context(RunningServer(listen("udp://127.0.0.1:0"), service))
    server.start()
    with halloo.connect_udp(server.address, timeout=TIMEOUT) as client:
        client.send(b"wrong\n")
        client.send(b"right\n")
        assert client.receive() == b"right\n"
    flush_log()
    assert len(caplog.records) == 1


# Calls from inside.


def test_respond_may_not_close_its_own_server(caplog: pytest.LogCaptureFixture) -> None:
    def respond(message: bytes) -> bytes:
        if message == b"close":
            server.close()
        return message

    server = halloo.Server(respond=respond).start()
    for message, answer in ((b"close\n", b""), (b"hello\n", b"hello\n")):
        with halloo.connect(server.address, timeout=TIMEOUT) as client:
            client.send(message)
            assert client.receive() == answer
    with pytest.raises(halloo.UsageError, match="close it in another thread"):
        server.close()
    flush_log()
    assert len(caplog.records) == 1
