import pickle
import socket
import ssl

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
ERRORS: list[type[HallooError]] = [HallooError, *BASES]


def test_every_error_is_in_the_table() -> None:
    values = [*vars(errors).values(), *vars(tls_errors).values()]
    defined = {value for value in values if isinstance(value, type) and issubclass(value, HallooError)}
    assert defined == set(ERRORS)


def test_an_error_can_be_caught_as_its_halloo_base_and_as_its_python_base() -> None:
    for kind, bases in BASES.items():
        assert all(isinstance(kind("it failed"), base) for base in bases)


def test_the_exit_code_is_1_when_the_peer_failed_and_2_otherwise() -> None:
    assert {kind: kind.exit_code for kind in ERRORS} == {
        kind: 1 if issubclass(kind, PeerError) else 2 for kind in ERRORS
    }


def test_an_error_has_a_blame() -> None:
    blames = {HallooError: "local", UsageError: "usage", PeerError: "peer", LocalError: "local"}
    assert {kind: kind("it failed").blame for kind in blames} == blames


def test_str_of_an_error_is_the_fact_and_the_remedy_without_the_errno() -> None:
    for kind in ERRORS:
        assert str(kind("it failed", errno=111)) == "it failed"
        assert str(kind("it failed", "try again")) == "it failed; try again"


def test_an_error_has_fact_remedy_address_and_errno_and_keeps_them_when_pickled() -> None:
    for kind in ERRORS:
        bare = kind("it failed")
        assert (bare.remedy, bare.address, bare.errno) == ("", None, None)
        error = kind("it failed", "try again", address="host:9", errno=111)
        assert (error.fact, error.remedy, error.address, error.errno) == ("it failed", "try again", "host:9", 111)
        copy = pickled(error)
        assert type(copy) is kind
        assert (str(copy), copy.address, copy.errno) == ("it failed; try again", "host:9", 111)


def pickled(error: HallooError) -> HallooError:
    copy: HallooError = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    return copy


def test_an_incomplete_read_has_partial_data_and_keeps_it_when_pickled() -> None:
    error = IncompleteRead("it ended")
    assert error.partial == b""
    error.partial = b"hel"
    copy = pickled(error)
    assert isinstance(copy, IncompleteRead)
    assert copy.partial == b"hel"


def test_errno_is_the_errno_of_the_python_exception() -> None:
    error: ConnectionRefusedError = Refused("it failed", errno=111)
    assert error.errno == 111


def test_a_usage_error_names_the_argument() -> None:
    error = UsageError("must be positive, not -1", "leave it out", argument="timeout")
    assert (str(error), error.argument) == ("timeout must be positive, not -1; leave it out", "timeout")
    assert str(pickled(error)) == str(error)


def test_a_message_is_one_line_without_terminal_codes() -> None:
    message = r"/run/a\nb\x1b[31m is \udc80; remove /run/a\nb"
    for kind in ERRORS:
        error = kind("/run/a\nb\x1b[31m is \udc80", "remove /run/a\nb")
        assert (str(error), str(pickled(error))) == (message, message)


@given(st.text())
def test_one_line_is_printable(text: str) -> None:
    assert one_line(text).isprintable()


def test_one_line_escapes_what_is_no_plain_text() -> None:
    texts = {"grüß": "grüß", "a\nb\tc": r"a\nb\tc", "\x1b[31m\0": r"\x1b[31m\x00", "\udcff": r"\udcff"}
    assert {text: one_line(text) for text in texts} == texts
