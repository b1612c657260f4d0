from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.address import PORT, SCHEMES, Address, parse, zone_fault
from halloo.errors import AddressError, UsageError

ACCEPTED = {
    "8888": Address(port=8888),
    "0": Address(port=0),
    "65535": Address(port=65535),
    ":8888": Address(host="", port=8888),
    "": Address(host="", port=PORT),
    "host": Address(host="host", port=PORT),
    "host:9": Address(host="host", port=9),
    "my-host.example.org:9": Address(host="my-host.example.org", port=9),
    "192.0.2.1": Address(host="192.0.2.1", port=PORT),
    "192.0.2.1:9": Address(host="192.0.2.1", port=9),
    "::": Address(host="::", port=PORT),
    "::1": Address(host="::1", port=PORT),
    "[::1]": Address(host="::1", port=PORT),
    "[::1]:9": Address(host="::1", port=9),
    "fe80::1%eth0": Address(host="fe80::1%eth0", port=PORT),
    "[fe80::1%eth0]:9": Address(host="fe80::1%eth0", port=9),
    "tcp://host:9": Address("tcp", "host", 9),
    "udp://host": Address("udp", "host", PORT),
    "udp://[::1]:9": Address("udp", "::1", 9),
    "tls://host:9": Address("tls", "host", 9),
    "tcp://9": Address("tcp", None, 9),
    "TCP://host": Address("tcp", "host", PORT),
    "unix:/run/halloo.sock": Address("unix", None, 0, "/run/halloo.sock"),
    "unix:///run/halloo.sock": Address("unix", None, 0, "/run/halloo.sock"),
    "unix:halloo.sock": Address("unix", None, 0, "halloo.sock"),
}
REFUSED = [
    *("65536", "host:65536", "host:", "host:-1", "host: 9", "host:http", "host:٣", "[::1]:", "[::1]:x"),
    *("9" * 5000, "host:" + "9" * 5000),
    *("[::1", "[::1]9", "::1::", "1:2:3", "[host:9]", "[[::1]]"),
    *("a host", "host/path", "user@host", "host\n", " host", "\x1b[31m", "tcp://tcp://host"),
    *("http://host", "tcp://", "udp://", "://host", "unix:", "unix://", "unix:/a\0b"),
]
NO_ADDRESS = [None, b"host", 1.5, (), ("host",), ("host", "http"), ("a host", 9), ("host", -1), -1, 65536, True]

hosts = st.one_of(
    st.none(),
    st.just(""),
    st.ip_addresses().map(str),
    st.from_regex(r"[A-Za-z][A-Za-z0-9.-]*", fullmatch=True),
    st.from_regex(r"fe80::[0-9a-f]{1,4}%[a-z0-9.-]+", fullmatch=True),
)
ports = st.integers(0, 65535)
names = st.builds(Address, st.sampled_from([scheme for scheme in SCHEMES if scheme != "unix"]), hosts, ports)
paths = st.text(min_size=1).filter(lambda path: "\0" not in path)
near_misses = st.text("[]:/%.-0189afh\0 é\n")


def test_a_valid_spelling_is_parsed() -> None:
    assert {text: parse(text) for text in ACCEPTED} == ACCEPTED
    assert parse(8888) == Address.parse(8888) == Address(port=8888)
    assert parse(("::1", 9)) == Address(host="::1", port=9)
    assert parse(("::1", 9, 0, 0)) == Address(host="::1", port=9)  # type: ignore[arg-type]  # of an IPv6 socket
    assert parse(("", 8888)) == parse(":8888")


def test_an_invalid_spelling_is_refused_with_a_remedy() -> None:
    for text in (*REFUSED, *NO_ADDRESS):
        with pytest.raises(AddressError) as caught:
            parse(text)  # type: ignore[arg-type]  # as a caller without a type checker may pass
        assert caught.value.remedy


@given(names)
def test_parsing_the_text_of_an_address_returns_an_equal_address(address: Address) -> None:
    assert parse(str(address)) == Address.parse(str(address)) == address
    assert parse(address) is address


@given(paths)
@example("//run/halloo.sock")
def test_parsing_the_text_of_a_path_returns_an_equal_address(path: str) -> None:
    address = Address("unix", None, 0, path)
    assert parse(str(address)) == address


@given(st.one_of(st.text(), near_misses))
def test_any_text_is_parsed_or_raises_address_error(text: str) -> None:
    try:
        parse(text)
    except AddressError as error:
        assert error.remedy  # noqa: PT017 - both outcomes are correct; an error must have a remedy


@given(st.one_of(near_misses, near_misses.map("fe80::1%{}".format), near_misses.map("UNIX://{}".format)))
@example("UNIX://host")
@example("fe80::1%]")
@example("unix:////a")
def test_the_text_of_a_parsed_address_parses_to_the_same_address(text: str) -> None:
    try:
        address = parse(text)
    except AddressError:
        return
    assert parse(str(address)) == address


def test_an_address_has_a_place_and_a_sockaddr() -> None:
    for text, place, sockaddr in (
        ("9", "9", ("", 9)),
        (":9", ":9", ("", 9)),
        ("host:9", "host:9", ("host", 9)),
        ("udp://[::1]:9", "[::1]:9", ("::1", 9)),
        ("unix:/run/echo", "/run/echo", "/run/echo"),
    ):
        assert (parse(text).place, parse(text).sockaddr) == (place, sockaddr)


def test_loopback_is_recognised() -> None:
    assert all(parse(text).loopback for text in ("9", "localhost", "127.0.0.1", "127.1.2.3", "::1", "unix:/a"))
    others = (":9", "0.0.0.0", "::", "host", "192.0.2.1", "fe80::1%eth0", "127.host")
    assert not any(parse(text).loopback for text in others)


def test_an_interface_that_is_missing_or_wrong_is_named() -> None:
    facts = {
        "fe80::1": "fe80::1 may be on any interface",
        "ff02::1": "ff02::1 may be on any interface",
        "fe80::1%nope": "this machine has no interface 'nope'",
        "::1%lo": "only link-local addresses name an interface, not ::1",
        "::ffff:127.0.0.1%lo": "only link-local addresses name an interface, not ::ffff:127.0.0.1",
    }
    assert {host: (zone_fault(host) or ("",))[0] for host in facts} == facts
    others = ("", "::1", "2001:db8::1", "127.0.0.1", "169.254.1.1", "host", "ff0e::1")
    assert [zone_fault(host) for host in others] == [None] * len(others)


def test_invalid_parts_are_refused() -> None:
    scheme = "^'udp://x' is not a scheme; the scheme is one of tcp, udp, tls, unix; Address.parse reads"
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("udp://x",), scheme),
        (("tcp", "x", -1), "^port must be 0 to 65535, not -1"),
        (("tcp", "x", 65536), "^port must be 0 to 65535, not 65536"),
        (("tcp", "x", "9"), "^port must be a whole number, not '9'"),
        (("tcp", 5), "^host must be text or None, not 5"),
        (("unix",), "^path is for the scheme unix, which needs one"),
        (("tcp", "x", 9, "/run/echo"), "^path is for the scheme unix, which needs one"),
    ]
    for parts, message in cases:
        with pytest.raises(UsageError, match=message):
            Address(*parts)


# Address values.
