import pickle
import socket
import ssl

import pytest

import halloo
from halloo import errors
from halloo._net import tls_errors
from halloo.errors import HallooError, IncompleteRead, LocalError, PeerError, Refused, UsageError

KIN: dict[type[HallooError], tuple[type[HallooError], type[Exception]]] = {
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
    halloo.Untrusted: (halloo.TlsError, ssl.SSLError),
}
EVERY = [HallooError, *KIN]

every_error = pytest.mark.parametrize("kind", EVERY)


def test_every_error_is_in_the_table() -> None:
    values = [*vars(errors).values(), *vars(tls_errors).values()]
    defined = {value for value in values if isinstance(value, type) and issubclass(value, HallooError)}
    assert defined == set(EVERY)


@pytest.mark.parametrize(("kind", "kin"), KIN.items())
def test_an_error_can_be_caught_by_halloos_name_and_by_pythons(
    kind: type[HallooError], kin: tuple[type[HallooError], type[Exception]]
) -> None:
    ours, pythons = kin
    error = kind("it failed")
    assert isinstance(error, ours)
    assert isinstance(error, pythons)


@every_error
def test_the_exit_code_is_1_when_the_peer_failed_and_2_otherwise(kind: type[HallooError]) -> None:
    assert kind.exit_code == (1 if issubclass(kind, PeerError) else 2)


@pytest.mark.parametrize(
    ("kind", "blame"), [(HallooError, "local"), (UsageError, "usage"), (PeerError, "peer"), (LocalError, "local")]
)
def test_an_error_says_whose_doing_it_was(kind: type[HallooError], blame: str) -> None:
    assert kind("it failed").blame == blame


@every_error
def test_an_error_says_the_fact(kind: type[HallooError]) -> None:
    assert str(kind("it failed")) == "it failed"


@every_error
def test_an_error_says_the_fact_and_then_the_remedy(kind: type[HallooError]) -> None:
    assert str(kind("it failed", "try again")) == "it failed; try again"


@every_error
def test_an_error_says_the_same_with_an_errno(kind: type[HallooError]) -> None:
    assert str(kind("it failed", errno=111)) == "it failed"


@every_error
def test_an_error_keeps_its_facts_apart(kind: type[HallooError]) -> None:
    error = kind("it failed", "try again", address="host:9", errno=111)
    assert (error.fact, error.remedy, error.address, error.errno) == ("it failed", "try again", "host:9", 111)


@every_error
def test_an_error_without_details_has_none(kind: type[HallooError]) -> None:
    error = kind("it failed")
    assert (error.remedy, error.address, error.errno) == ("", None, None)


@every_error
def test_a_pickled_error_keeps_its_facts(kind: type[HallooError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it failed", "try again", address="host:9", errno=111)))  # noqa: S301 - ours
    assert type(error) is kind
    assert (str(error), error.address, error.errno) == ("it failed; try again", "host:9", 111)


def test_a_pickled_cut_keeps_what_came() -> None:
    error = IncompleteRead("it ended")
    error.partial = b"hel"
    assert pickle.loads(pickle.dumps(error)).partial == b"hel"  # noqa: S301 - ours


def test_a_cut_has_nothing_unless_told() -> None:
    assert IncompleteRead("it ended").partial == b""


def test_the_systems_number_is_the_errno_that_python_knows() -> None:
    error: ConnectionRefusedError = Refused("it failed", errno=111)
    assert error.errno == 111


def test_a_usage_error_names_the_argument() -> None:
    error = UsageError("must be positive, not -1", "leave it out", argument="timeout")
    assert (str(error), error.argument) == ("timeout must be positive, not -1; leave it out", "timeout")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
