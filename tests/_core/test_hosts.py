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


def test_loopback_link_local_and_private_addresses_are_near() -> None:
    near = (
        "127.9.9.9 ::1 localhost 169.254.1.1 fe80::1%eth0 fd00::1 10.1.2.3 172.31.255.255 192.168.0.1 ::ffff:10.1.2.3"
    )
    far = ["8.8.8.8", "172.32.0.0", "192.169.0.1", "100.64.0.1", "2001:db8::1", "::2", ""]
    assert all(is_near(host) for host in near.split())
    assert not any(is_near(host) for host in far)


# Networks.


@given(ADDRESSES, st.lists(st.tuples(ADDRESSES, st.integers(0, 32)), max_size=4))
def test_networks_contain_what_ipaddress_says(host: str, nets: list[tuple[str, int]]) -> None:
    networks = [ipaddress.ip_network(f"{address}/{length}", strict=False) for address, length in nets]
    packed = pack(host)
    assert (packed in Networks(networks)) == any(ipaddress.ip_address(packed) in net for net in networks)


# Access lists.


def test_access_lists_permit_and_deny() -> None:
    ten, one, all_of_both = "10.0.0.0/8", "10.0.0.1", "0.0.0.0/0 ::/0"
    cases = [  # allow, deny, the hosts permitted and those denied
        ("", "", "10.0.0.1", ""),
        (ten, "", "10.1.2.3 ::ffff:10.0.0.1", "11.0.0.1 ::1"),
        ("", ten, "11.0.0.1", "10.1.2.3 ::ffff:10.0.0.1"),
        (ten, one, "10.0.0.2", one),
        (one, ten, "", one),
        (f"{ten} fd00::/8", "", "10.0.0.1 fd00::1", ""),
        ("127.0.0.1", "", "127.0.0.1", "127.0.0.2"),
        ("10.1.2.3/8", "", "10.200.0.1", ""),
        ("", "::ffff:10.0.0.1", "", one),
        ("", "::ffff:10.0.0.0/104", "", "::ffff:10.0.0.1"),
        ("", "fe80::/10", "", "fe80::1%eth0"),
    ]
    for allow, deny, permitted, denied in cases:
        access = Access(allow.split(), deny.split())
        assert bool(access) == bool(allow or deny)
        assert all(access.permits(host) for host in permitted.split())
        assert not any(access.permits(host) for host in denied.split())
    assert Access(deny=all_of_both.split()).permits("")  # a peer without an address
    assert not Access(allow=all_of_both.split()).permits("")


def test_an_invalid_network_is_refused() -> None:
    for text in ("", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "fd00::/129", " 10.0.0.1"):
        with pytest.raises(AddressError, match="is not a network"):
            network(text)
    for lists in ({"allow": ["nowhere"]}, {"deny": ["nowhere"]}):
        with pytest.raises(AddressError, match="'nowhere' is not a network"):
            Access(**lists)
