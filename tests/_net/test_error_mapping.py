import errno
import os
import socket
import ssl

from halloo._core.address import Address, parse
from halloo._core.icmp import IcmpReport
from halloo._net.error_mapping import (
    MAX_NAMED,
    all_failed,
    connecting,
    listening,
    not_local,
    shaking,
    undelivered,
    unknown,
)
from halloo.errors import (
    AddressNotAvailable,
    HallooError,
    LocalError,
    NotPermitted,
    PeerError,
    Refused,
    Reset,
    TimedOut,
    Unreachable,
)

HOST = Address(host="host", port=9)
CONNECTING: dict[int, tuple[type[HallooError], str]] = {
    errno.ECONNREFUSED: (Refused, "nothing is listening on host:9 (connection refused)"),
    errno.ECONNRESET: (Reset, "host:9 ended the connection with a reset"),
    errno.EPIPE: (Reset, "host:9 has closed the connection"),
    errno.ECONNABORTED: (Reset, "the connection to host:9 was aborted"),
    errno.ETIMEDOUT: (TimedOut, "host:9 does not answer (timed out)"),
    errno.EHOSTUNREACH: (Unreachable, "host:9 cannot be reached (no route to host)"),
    errno.ENETUNREACH: (Unreachable, "host:9 cannot be reached (network is unreachable)"),
    errno.EADDRNOTAVAIL: (Unreachable, "host:9 cannot be reached from here (address not available)"),
    errno.EACCES: (NotPermitted, "connecting to host:9 is not permitted"),
    errno.EPERM: (NotPermitted, "connecting to host:9 is not permitted"),
    errno.EADDRINUSE: (AddressNotAvailable, "no local port is free for a connection to host:9"),
    errno.ENOBUFS: (LocalError, "this machine has no memory left for a connection to host:9"),
    errno.EMFILE: (LocalError, "no file descriptor is left for a connection to host:9"),
    errno.ENFILE: (LocalError, "no file descriptor is left on this machine for a connection to host:9"),
}


def failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_connect_error_has_a_class_a_message_a_remedy_and_its_errno() -> None:
    for number, expected in CONNECTING.items():
        error = connecting(HOST, failed(number))
        assert (type(error), error.fact) == expected
        assert (error.address, error.errno, error.remedy != "") == ("tcp://host:9", number, True)
    assert isinstance(connecting(HOST, failed(errno.ENOTCONN)), ConnectionResetError)


def test_other_errors_are_reported_in_their_own_words() -> None:
    error = connecting(HOST, OSError(errno.EISCONN, "Something Odd"))
    assert (type(error), str(error)) == (PeerError, "host:9 failed: something odd")
    assert str(connecting(HOST, OSError("Something odd"))) == "host:9 failed: something odd"
    assert isinstance(connecting(HOST, TimeoutError("timed out")), TimedOut)


def test_the_suggested_server_command_matches_the_clients_address() -> None:
    commands = {
        "8888": "halloo serve",
        "localhost": "halloo serve",
        "[::1]:8888": "halloo serve",
        "localhost:9": "halloo serve 9",
        "host": "halloo serve :8888",
        "host:9": "halloo serve :9",
        ":9": "halloo serve 9",
    }
    for text, command in commands.items():
        error = connecting(parse(text), failed(errno.ECONNREFUSED))
        assert error.remedy == f"start a server there with: {command}"
        assert "on :" not in error.fact
    assert "localhost:9" in connecting(parse(":9"), failed(errno.ECONNREFUSED)).fact


def test_an_unknown_host_name_has_no_known_address() -> None:
    none, again = (socket.gaierror(number, "of the resolver") for number in (socket.EAI_NONAME, socket.EAI_AGAIN))
    error = unknown(HOST, none)
    assert str(error) == "no address is known for 'host'; check the spelling, or give an IP address"
    assert (error.address, error.errno) == ("tcp://host:9", socket.EAI_NONAME)
    assert "'localhost'" in unknown(Address(port=9), none).fact
    assert unknown(HOST, again).remedy == "try again later"
    fact = "no address is known for 'host'"
    own = "name one of this machine's own addresses, or every interface, as in :8888"
    assert str(not_local(HOST, none)) == f"{fact}; {own}"
    assert str(not_local(HOST, again)) == f"{fact}; try again later, or give an IP address"


# Names with several addresses.

ONE, TWO = Address(host="192.0.2.1", port=9), Address(host="2001:db8::1", port=9)


def test_if_all_addresses_fail_each_is_named_and_the_error_that_says_most_decides() -> None:
    failures = [(TWO, failed(errno.ENETUNREACH)), (ONE, failed(errno.ECONNREFUSED)), (TWO, failed(errno.ETIMEDOUT))]
    error = all_failed(HOST, failures)
    assert (type(error), error.errno, error.address) == (Refused, errno.ECONNREFUSED, "tcp://host:9")
    assert error.fact == (
        "no address of host can be connected to: [2001:db8::1]:9 cannot be reached (network is unreachable), "
        "nothing is listening on 192.0.2.1:9 (connection refused), [2001:db8::1]:9 does not answer (timed out)"
    )
    assert error.remedy == "start a server there with: halloo serve :9"


def test_one_address_of_a_name_fails_as_the_name() -> None:
    error = all_failed(HOST, [(ONE, failed(errno.ECONNREFUSED))])
    assert str(error) == str(connecting(HOST, failed(errno.ECONNREFUSED)))


def test_both_addresses_of_localhost_are_named_only_if_they_fail_differently() -> None:
    name = Address(host="localhost", port=9)
    one, two = Address(host="127.0.0.1", port=9), Address(host="::1", port=9)
    alike = all_failed(name, [(one, failed(errno.ECONNREFUSED)), (two, failed(errno.ECONNREFUSED))])
    assert alike.fact == "nothing is listening on localhost:9 (connection refused)"
    differently = all_failed(name, [(one, failed(errno.ECONNREFUSED)), (two, failed(errno.ETIMEDOUT))])
    assert "[::1]:9 does not answer (timed out)" in differently.fact


def test_an_error_names_a_limited_number_of_addresses() -> None:
    fact = all_failed(HOST, [(ONE, failed(errno.ECONNREFUSED))] * (MAX_NAMED + 2)).fact
    assert fact.count("192.0.2.1:9") == MAX_NAMED
    assert fact.endswith(", 2 more fail too")


LOOPBACK = "check that the loopback interface is up, with this address: ip addr show lo"


def test_a_listen_error_has_a_class_a_message_and_a_next_step() -> None:
    own = "name one of its own addresses, or every interface, as in :8888"
    foreign = (AddressNotAvailable, "cannot listen on host:9: it is not an address of this machine", own)
    low = "ports below 1024 are for the administrator, choose another, such as {}"
    denied = (NotPermitted, "cannot listen on host:9 (permission denied)", low.format("tcp://host:8009"))
    expected: dict[int, tuple[type[LocalError], str, str]] = {
        errno.EACCES: denied,
        errno.EPERM: denied,
        errno.EADDRNOTAVAIL: foreign,
        errno.EAFNOSUPPORT: foreign,
        errno.ENODEV: foreign,
        errno.EINVAL: (LocalError, "cannot listen on host:9: invalid argument", ""),
    }
    for number, words in expected.items():
        error = listening(HOST, failed(number))
        assert (type(error), error.fact, error.remedy) == words
        assert error.errno == number
    remedies = [
        (Address("udp", "::1", port=80), errno.EACCES, low.format("udp://[::1]:8080")),
        (Address(port=60000), errno.EACCES, "choose another port, or see what reserves this one"),
        (Address(host="::1"), errno.EADDRNOTAVAIL, LOOPBACK),
        (Address("unix", path="/run/echo"), errno.EACCES, "choose a path in a folder that this user may write to"),
        (Address("unix", path="/missing/echo"), errno.ENOENT, "choose a path in a folder that exists"),
    ]
    for address, number, remedy in remedies:
        assert listening(address, failed(number)).remedy == remedy


def test_only_a_name_may_be_reached_in_the_other_family() -> None:
    for host, number, remedy in (
        ("127.0.0.1", errno.ENETUNREACH, LOOPBACK),
        ("::1", errno.EADDRNOTAVAIL, LOOPBACK),
        ("192.0.2.1", errno.ENETUNREACH, "check the address and the network"),
        ("fe80::1%7", errno.ENETUNREACH, "check that this interface exists and is up: ip link show 7"),
        ("example.org", errno.ENETUNREACH, "try the other family with family="),
    ):
        assert connecting(Address(host=host), failed(number)).remedy == remedy


def test_a_report_names_the_router_and_a_refusal_by_the_host_is_one_of_the_port() -> None:
    address = Address("udp", "192.0.2.9", 8888)
    far = undelivered(address, IcmpReport(4, 3, 1, "192.0.2.1", errno.EHOSTUNREACH))
    assert isinstance(far, Unreachable)
    assert str(far) == "192.0.2.1 reports: host unreachable; check that the host is up"
    filtered = undelivered(address, IcmpReport(4, 3, 3, "192.0.2.1", errno.ECONNREFUSED))
    assert isinstance(filtered, Refused)
    assert filtered.fact == "192.0.2.1 refuses datagrams to 192.0.2.9:8888 (port unreachable)"
    closed = undelivered(address, IcmpReport(4, 3, 3, "192.0.2.9", errno.ECONNREFUSED))
    assert closed.fact == "nothing is listening on 192.0.2.9:8888 (connection refused)"


def test_an_expired_certificate_is_no_matter_of_trust() -> None:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.reason, error.verify_code, error.verify_message = "CERTIFICATE_VERIFY_FAILED", 10, "certificate has expired"
    said = shaking(HOST, error)
    assert said.fact.endswith("is not trusted (certificate has expired)")
    assert said.remedy == "have it renewed, or set the clock of this machine"
