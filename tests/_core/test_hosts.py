import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.hosts import Access, Networks, count_key, is_near, network, pack
from halloo.errors import AddressError

ADDRESSES = st.ip_addresses().map(str)

# Addresses.


@given(ADDRESSES)
def test_an_address_is_packed_as_ipaddress_packs_it(host: str) -> None:
    address = ipaddress.ip_address(host)
    assert pack(host) == ((getattr(address, "ipv4_mapped", None)) or address).packed


def test_the_interface_of_an_address_is_dropped_and_a_mapped_one_is_ipv4() -> None:
    assert pack("fe80::1%eth0") == pack("fe80::1")
    assert pack("::ffff:10.0.0.1") == pack("10.0.0.1") == b"\x0a\x00\x00\x01"


@pytest.mark.parametrize("host", ["", "localhost", "/run/a.sock", "10.0.0", "10.0.0.0.1", "::1::", "1\0"])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address|null"):
        pack(host)


@pytest.mark.parametrize(
    ("one", "other", "prefix"),  # of the longest prefix by which they are one host; 0: they never are
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:8000::2", 64),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", 62),
        ("2001:db8:0:1::1", "2001:db8:0:1::", 127),
        ("8000::", "::1", 0),
        ("fe80::1%eth0", "fe80::1%eth1", 128),
        ("192.0.2.1", "192.0.2.2", 0),
        ("192.0.2.1", "::ffff:192.0.2.1", 128),
        ("192.0.2.1", "c000:201::", 0),
        ("", "localhost", 0),
        ("\udcff", "\udcfe", 0),
    ],
)
def test_hosts_are_counted_by_ipv4_address_and_by_ipv6_prefix(one: str, other: str, prefix: int) -> None:
    same = [length for length in range(1, 129) if count_key(one, length) == count_key(other, length)]
    assert same == list(range(1, prefix + 1))


@pytest.mark.parametrize(
    ("host", "near"),
    [
        *((host, True) for host in ("127.9.9.9", "::1", "localhost", "169.254.1.1", "fe80::1%eth0", "fd00::1")),
        *((host, True) for host in ("10.1.2.3", "172.31.255.255", "192.168.0.1", "::ffff:10.1.2.3")),
        *((host, False) for host in ("8.8.8.8", "172.32.0.0", "192.169.0.1", "100.64.0.1", "2001:db8::1", "::2", "")),
    ],
)
def test_loopback_link_local_and_private_addresses_are_near(host: str, near: bool) -> None:
    assert is_near(host) == near


# Networks.


@given(ADDRESSES, st.lists(st.tuples(ADDRESSES, st.integers(0, 32)), max_size=4))
def test_networks_contain_what_ipaddress_says(host: str, nets: list[tuple[str, int]]) -> None:
    networks = [ipaddress.ip_network(f"{address}/{length}", strict=False) for address, length in nets]
    packed = pack(host)
    assert (packed in Networks(networks)) == any(ipaddress.ip_address(packed) in net for net in networks)


# Access lists.


def test_empty_access_lists_permit_every_host() -> None:
    assert Access().permits("10.0.0.1")
    assert not Access()


def test_an_allow_list_denies_all_other_hosts() -> None:
    access = Access(allow=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1", "::1")] == [True, False, False]


def test_a_deny_list_permits_all_other_hosts() -> None:
    access = Access(deny=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1")] == [False, True]


def test_deny_takes_precedence_over_allow() -> None:
    access = Access(allow=["10.0.0.0/8"], deny=["10.0.0.1"])
    assert [access.permits(host) for host in ("10.0.0.1", "10.0.0.2")] == [False, True]


def test_a_wider_deny_takes_precedence_over_a_narrower_allow() -> None:
    assert not Access(allow=["10.0.0.1"], deny=["10.0.0.0/8"]).permits("10.0.0.1")


def test_a_host_in_any_allowed_network_is_permitted() -> None:
    access = Access(allow=["10.0.0.0/8", "fd00::/8"])
    assert access.permits("10.0.0.1")
    assert access.permits("fd00::1")


def test_a_single_address_is_a_network_of_one() -> None:
    access = Access(allow=["127.0.0.1"])
    assert [access.permits(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, False]


def test_a_network_may_be_written_with_any_of_its_addresses() -> None:
    assert Access(allow=["10.1.2.3/8"]).permits("10.200.0.1")


def test_an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() -> None:
    assert not Access(deny=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")
    assert Access(allow=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")


def test_a_network_may_be_written_as_ipv4_mapped() -> None:
    assert not Access(deny=["::ffff:10.0.0.1"]).permits("10.0.0.1")
    assert not Access(deny=["::ffff:10.0.0.0/104"]).permits("::ffff:10.0.0.1")


def test_the_interface_of_an_address_is_ignored() -> None:
    assert not Access(deny=["fe80::/10"]).permits("fe80::1%eth0")


def test_a_peer_without_an_address_is_permitted_by_a_deny_list() -> None:
    assert Access(deny=["0.0.0.0/0", "::/0"]).permits("")


def test_a_peer_without_an_address_is_denied_by_an_allow_list() -> None:
    assert not Access(allow=["0.0.0.0/0", "::/0"]).permits("")


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "fd00::/129", " 10.0.0.1"])
def test_an_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not a network"):
        network(text)


@pytest.mark.parametrize("lists", [{"allow": ["nowhere"]}, {"deny": ["nowhere"]}], ids=["allow", "deny"])
def test_both_lists_are_parsed_on_construction(lists: dict[str, list[str]]) -> None:
    with pytest.raises(AddressError, match="'nowhere' is not a network"):
        Access(**lists)
