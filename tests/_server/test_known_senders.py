"""Which senders are known, with the time as a number."""

from halloo._server.known_senders import FORGOTTEN_AFTER, KNOWN_AFTER, MAX_HOSTS, MAX_NEW, MAX_PORTS, KnownSenders

HOST, OTHER = 1, 2


def make_known(*ports: int, senders: KnownSenders | None = None, host: int = HOST, last: float = 10.0) -> KnownSenders:
    """Have ports of a host come back."""
    senders = senders or KnownSenders()
    for now in (last - KNOWN_AFTER, last):
        for port in ports:
            senders.seen(host, port, now)
    return senders


def test_a_new_sender_yields_to_a_known_one_of_its_host_only() -> None:
    senders = make_known(1)
    assert [senders.yields(HOST, port, 10.0) for port in (1, 2, 3)] == [False, True, True]
    assert not senders.yields(OTHER, 2, 10.0)


def test_senders_that_do_not_come_back_are_not_known() -> None:
    senders = KnownSenders()
    for port in range(900):
        senders.seen(HOST, port, port / 100)
    assert not senders.yields(HOST, 1000, 9.0)


def test_a_sender_is_forgotten_when_it_stays_away() -> None:
    senders = make_known(1)
    assert senders.yields(HOST, 2, 10.0 + FORGOTTEN_AFTER)
    assert not senders.yields(HOST, 2, 10.1 + FORGOTTEN_AFTER)
    senders.seen(HOST, 1, 20.0)
    assert senders.yields(HOST, 2, 20.0 + FORGOTTEN_AFTER)
    senders.yields(HOST, 1, 30.0)
    assert senders.yields(HOST, 2, 30.0 + FORGOTTEN_AFTER)


def test_later_ports_of_a_host_do_not_replace_the_first_ones_while_those_are_active() -> None:
    senders = make_known(*range(3 * MAX_PORTS))
    known = [not senders.yields(HOST, port, 11.0) for port in range(3 * MAX_PORTS)]
    assert known == [True] * MAX_PORTS + [False] * 2 * MAX_PORTS
    make_known(99, senders=senders, last=12.0 + FORGOTTEN_AFTER)
    assert not senders.yields(HOST, 99, 12.0 + FORGOTTEN_AFTER)


def test_forged_senders_do_not_grow_the_tables_and_known_ones_stay() -> None:
    senders = make_known(1)
    for host in range(3, 3 + 3 * MAX_HOSTS):
        make_known(1, senders=senders, host=host, last=12.0)
    assert len(senders._known) == MAX_HOSTS
    for port in range(2 * MAX_NEW):
        senders.seen(OTHER, port, 12.0)
    assert len(senders._new) <= MAX_NEW
    assert [senders.yields(HOST, port, 12.0) for port in (1, 2)] == [False, True]


def test_in_a_full_table_those_that_stay_away_make_room() -> None:
    senders = KnownSenders()
    for host in range(MAX_HOSTS):
        make_known(1, senders=senders, host=-host)
    make_known(1, senders=senders, last=12.0)
    assert not senders.yields(HOST, 2, 12.0)  # the table is full
    make_known(1, senders=senders, last=12.0 + FORGOTTEN_AFTER)
    assert senders.yields(HOST, 2, 12.0 + FORGOTTEN_AFTER)
    assert len(senders._known) == 1
