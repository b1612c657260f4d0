import pickle
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halloo
from halloo import errors
from halloo._net import tls_errors
from halloo.errors import HallooError, IncompleteRead, LocalError, PeerError, Refused, UsageError, one_line

BASES: dict[type[HallooError], tuple[type[HallooError], type[Exception]]] = {
    errors.UsageError: (HallooError, ValueError),
    errors.PeerError: (HallooError, OSError),
    errors.LocalError: (HallooError, OSError),
    errors.AddressError: (UsageError, ValueError),
    errors.UnitError: (UsageError, ValueError),
    errors.Unsupported: (UsageError, NotImplementedError),
    errors.UnknownHost: (PeerError, socket.gaierror),
    errors.Unreachable: (PeerError, OSError),
    errors.Refused: (PeerError, ConnectionRefusedError),
    errors.Reset: (PeerError, ConnectionResetError),
    errors.TimedOut: (PeerError, TimeoutError),
    errors.IncompleteRead: (PeerError, EOFError),
    errors.MessageTooLong: (PeerError, OSError),
    errors.Truncated: (PeerError, OSError),
    errors.AddressInUse: (LocalError, OSError),
    errors.NotPermitted: (LocalError, PermissionError),
    errors.AddressNotAvailable: (LocalError, OSError),
    errors.MissingFile: (LocalError, FileNotFoundError),
    errors.ConnectionClosed: (LocalError, ConnectionAbortedError),
    halloo.TlsError: (PeerError, ssl.SSLError),
    halloo.Untrusted: (halloo.TlsError, ssl.SSLCertVerificationError),
}
ERRORS = [HallooError, *BASES]

every_error = pytest.mark.parametrize("kind", ERRORS)


def test_every_error_is_in_the_table() -> None:
    values = [*vars(errors).values(), *vars(tls_errors).values()]
    defined = {value for value in values if isinstance(value, type) and issubclass(value, HallooError)}
    assert defined == set(ERRORS)


@pytest.mark.parametrize(("kind", "bases"), BASES.items())
def test_an_error_can_be_caught_as_its_halloo_base_and_as_its_python_base(
    kind: type[HallooError], bases: tuple[type[HallooError], type[Exception]]
) -> None:
    halloo_base, python_base = bases
    error = kind("it failed")
    assert isinstance(error, halloo_base)
    assert isinstance(error, python_base)


@every_error
def test_the_exit_code_is_1_when_the_peer_failed_and_2_otherwise(kind: type[HallooError]) -> None:
    assert kind.exit_code == (1 if issubclass(kind, PeerError) else 2)


@pytest.mark.parametrize(
    ("kind", "blame"), [(HallooError, "local"), (UsageError, "usage"), (PeerError, "peer"), (LocalError, "local")]
)
def test_an_error_has_a_blame(kind: type[HallooError], blame: str) -> None:
    assert kind("it failed").blame == blame


@every_error
def test_str_of_an_error_is_the_fact(kind: type[HallooError]) -> None:
    assert str(kind("it failed")) == "it failed"


@every_error
def test_str_of_an_error_is_the_fact_and_the_remedy(kind: type[HallooError]) -> None:
    assert str(kind("it failed", "try again")) == "it failed; try again"


@every_error
def test_str_of_an_error_omits_the_errno(kind: type[HallooError]) -> None:
    assert str(kind("it failed", errno=111)) == "it failed"


@every_error
def test_an_error_has_fact_remedy_address_and_errno(kind: type[HallooError]) -> None:
    error = kind("it failed", "try again", address="host:9", errno=111)
    assert (error.fact, error.remedy, error.address, error.errno) == ("it failed", "try again", "host:9", 111)


@every_error
def test_the_details_of_an_error_are_empty_by_default(kind: type[HallooError]) -> None:
    error = kind("it failed")
    assert (error.remedy, error.address, error.errno) == ("", None, None)


@every_error
def test_a_pickled_error_keeps_its_attributes(kind: type[HallooError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it failed", "try again", address="host:9", errno=111)))  # noqa: S301 - our own bytes
    assert type(error) is kind
    assert (str(error), error.address, error.errno) == ("it failed; try again", "host:9", 111)


def test_a_pickled_incomplete_read_keeps_its_partial_data() -> None:
    error = IncompleteRead("it ended")
    error.partial = b"hel"
    assert pickle.loads(pickle.dumps(error)).partial == b"hel"  # noqa: S301 - our own bytes


def test_the_partial_data_of_an_incomplete_read_is_empty_by_default() -> None:
    assert IncompleteRead("it ended").partial == b""


def test_errno_is_the_errno_of_the_python_exception() -> None:
    error: ConnectionRefusedError = Refused("it failed", errno=111)
    assert error.errno == 111


def test_a_usage_error_names_the_argument() -> None:
    error = UsageError("must be positive, not -1", "leave it out", argument="timeout")
    assert (str(error), error.argument) == ("timeout must be positive, not -1; leave it out", "timeout")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


@every_error
def test_a_message_is_one_line_without_terminal_codes(kind: type[HallooError]) -> None:
    error = kind("/run/a\nb\x1b[31m is \udc80", "remove /run/a\nb")
    message = r"/run/a\nb\x1b[31m is \udc80; remove /run/a\nb"
    assert str(error) == message
    assert str(pickle.loads(pickle.dumps(error))) == message  # noqa: S301 - our own bytes


@given(st.text())
def test_one_line_is_printable(text: str) -> None:
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("grüß", "grüß"), ("a\nb\tc", r"a\nb\tc"), ("\x1b[31m\0", r"\x1b[31m\x00"), ("\udcff", r"\udcff")],
)
def test_one_line_escapes_what_is_no_plain_text(text: str, shown: str) -> None:
    assert one_line(text) == shown
