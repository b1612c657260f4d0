import pytest

from halloo.core.access import Access, network
from halloo.errors import AddressError


def test_everybody_comes_in_where_nobody_is_named() -> None:
    assert Access().permits("10.0.0.1")
    assert not Access()


def test_where_somebody_is_allowed_nobody_else_is() -> None:
    access = Access(allow=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1", "::1")] == [True, False, False]


def test_who_is_denied_does_not_come_in_and_others_do() -> None:
    access = Access(deny=["10.0.0.0/8"])
    assert [access.permits(host) for host in ("10.1.2.3", "11.0.0.1")] == [False, True]


def test_denial_wins() -> None:
    access = Access(allow=["10.0.0.0/8"], deny=["10.0.0.1"])
    assert [access.permits(host) for host in ("10.0.0.1", "10.0.0.2")] == [False, True]


def test_the_wider_denial_wins_over_the_narrower_permission() -> None:
    assert not Access(allow=["10.0.0.1"], deny=["10.0.0.0/8"]).permits("10.0.0.1")


def test_any_of_several_networks_will_do() -> None:
    access = Access(allow=["10.0.0.0/8", "fd00::/8"])
    assert access.permits("10.0.0.1")
    assert access.permits("fd00::1")


def test_a_single_address_is_a_network_of_one() -> None:
    access = Access(allow=["127.0.0.1"])
    assert [access.permits(host) for host in ("127.0.0.1", "127.0.0.2")] == [True, False]


def test_a_network_may_be_named_by_any_of_its_addresses() -> None:
    assert Access(allow=["10.1.2.3/8"]).permits("10.200.0.1")


def test_an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() -> None:
    assert not Access(deny=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")
    assert Access(allow=["10.0.0.0/8"]).permits("::ffff:10.0.0.1")


def test_a_network_may_be_written_as_mapped_ones_are() -> None:
    assert not Access(deny=["::ffff:10.0.0.1"]).permits("10.0.0.1")
    assert not Access(deny=["::ffff:10.0.0.0/104"]).permits("::ffff:10.0.0.1")


def test_the_interface_of_an_address_plays_no_part() -> None:
    assert not Access(deny=["fe80::/10"]).permits("fe80::1%eth0")


def test_who_has_no_address_comes_in_where_only_some_are_denied() -> None:
    assert Access(deny=["0.0.0.0/0", "::/0"]).permits("")


def test_who_has_no_address_does_not_come_in_where_only_some_are_allowed() -> None:
    assert not Access(allow=["0.0.0.0/0", "::/0"]).permits("")


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "fd00::/129", " 10.0.0.1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not a network"):
        network(text)


@pytest.mark.parametrize("lists", [{"allow": ["nowhere"]}, {"deny": ["nowhere"]}], ids=["allow", "deny"])
def test_both_lists_are_read_at_once(lists: dict[str, list[str]]) -> None:
    with pytest.raises(AddressError, match="'nowhere' is not a network"):
        Access(**lists)
