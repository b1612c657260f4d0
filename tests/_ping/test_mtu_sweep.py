"""The largest datagram that comes back, with an echo that knows how large that is."""

from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import count

import pytest

from halloo._core.address import parse
from halloo._core.limits import Limits
from halloo._core.probe import LEAST
from halloo._net.datagrams import MOST
from halloo._net.signals import StopRequest
from halloo._ping.flow import ConnectOptions, ProbeConnection
from halloo._ping.mtu_sweep import TRIES, MtuSweep
from halloo._ping.report import ProbeEvent, TargetReport
from halloo._server.serve import serving
from tests.peers import correspondent, unused_datagram_port

WAIT = 0.06  # seconds in which a try is given up


def swept(
    address: str, *, tell: Callable[[ProbeEvent, StopRequest], object] | None = None, wait: float = WAIT
) -> tuple[TargetReport, list[ProbeEvent]]:
    """Search, and give what was found and what was told."""
    events: list[ProbeEvent] = []
    lane = ProbeConnection(ConnectOptions(parse(address), wait), run=0, size=LEAST)
    with closing(StopRequest()) as wish, closing(lane):

        def hear(event: ProbeEvent) -> None:
            events.append(event)
            if tell:
                tell(event, wish)

        target = TargetReport(address, address, None, None)
        chance = count(1).__next__
        return MtuSweep(lane, target, wish, hear, wait_ns=int(wait * 1e9), chance=chance, place=5).run(), events


@pytest.mark.parametrize("largest", [LEAST, 1472, 65_506])
def test_the_largest_that_comes_back_is_found_to_the_byte(largest: int) -> None:
    with serving("udp://127.0.0.1:0", limits=Limits(max_bytes=largest)) as server:
        target, events = swept(str(server.address))
    assert target.largest_bytes == largest
    assert {event.size for event in events if event.outcome == "reply"} >= {LEAST, largest}
    assert max(event.size for event in events if event.outcome == "reply") == largest
    assert target.peer == server.address.place


def test_where_all_come_back_three_are_enough() -> None:
    with serving("udp://127.0.0.1:0") as server:
        target, events = swept(str(server.address), wait=5)
    assert (target.largest_bytes, target.sent, target.received, target.lost) == (MOST, 2, 2, 0)
    assert [(event.target, event.number, event.size) for event in events] == [(5, 0, LEAST), (5, 1, MOST)]
    assert target.round_trip


def test_where_none_comes_back_there_is_no_largest() -> None:
    with correspondent(lambda _: []) as port:
        target, events = swept(f"udp://127.0.0.1:{port}")
    assert (target.largest_bytes, target.sent, target.received, target.lost) == (None, TRIES, 0, TRIES)
    assert [event.outcome for event in events] == ["lost"] * TRIES


def test_where_nobody_is_that_is_told() -> None:
    target, _ = swept(f"udp://127.0.0.1:{unused_datagram_port()}")
    assert target.largest_bytes is None
    assert target.failure
    assert "nothing is listening" in target.failure


def test_a_name_that_nobody_has_ends_the_search() -> None:
    target, events = swept("udp://halloo.invalid:9")
    assert (target.sent, dict(target.errors), events) == (0, {"UnknownHost": 1}, [])
    assert target.failure
    assert "no address is known" in target.failure


def test_a_size_is_given_up_only_after_some_tries() -> None:
    seen: list[int] = []

    def every_third(datagram: bytes) -> Iterable[bytes]:
        seen.append(len(datagram))
        return [datagram] if seen.count(len(datagram)) == TRIES else []

    with correspondent(every_third) as port:
        target, _ = swept(f"udp://127.0.0.1:{port}")
    assert (target.largest_bytes, target.sent, target.received) == (MOST, 2 * TRIES, 2)


def test_what_comes_back_cut_off_does_not_count() -> None:
    with correspondent(lambda datagram: [datagram[:500]]) as port:
        target, events = swept(f"udp://127.0.0.1:{port}")
    assert target.largest_bytes == 500
    assert "corrupt" in {event.outcome for event in events}


def test_a_wish_to_stop_ends_the_search_with_what_is_known() -> None:
    def stop(event: ProbeEvent, wish: StopRequest) -> None:
        wish.stop = event.outcome == "reply"

    with serving("udp://127.0.0.1:0") as server:
        target, events = swept(str(server.address), tell=stop, wait=5)
    assert (target.largest_bytes, target.sent, len(events)) == (LEAST, 1, 1)
