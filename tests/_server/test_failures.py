"""What `respond` raises: logged at once, and raised when its server closes."""

import logging
from collections.abc import Iterator

import pytest

from halloo._server.failures import MAX_KEPT, Failures, flush_log, log, log_failure


@pytest.fixture
def failures() -> Iterator[Failures]:
    yield Failures()
    flush_log()


def test_without_exceptions_nothing_is_raised_or_noted(failures: Failures) -> None:
    failures.raise_all()
    error = ValueError()
    failures.add_notes(error)
    assert not hasattr(error, "__notes__")


def test_one_exception_is_raised_as_it_is_and_once(failures: Failures) -> None:
    error = SystemExit(3)
    failures.add(error)
    with pytest.raises(SystemExit) as caught:
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
    failures.add_notes(other)
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
