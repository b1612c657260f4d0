"""The size sweep against servers with a known limit."""

from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import count

import pytest

from halloo._core.limits import Limits
from halloo._core.probe import MIN_SIZE, write_notice
from halloo._net.datagrams import MAX_DATAGRAM
from halloo._net.signals import StopRequest
from halloo._ping.mtu_sweep import TRIES, MtuSweep
from halloo._ping.report import ProbeEvent, SizeLimit, TargetReport
from halloo._server.server import Server
from tests._ping.flows import make_flow
from tests.peers import datagram_peer, unused_datagram_port

TIMEOUT = 0.06  # seconds for each try


def sweep(
    address: str, *, on_event: Callable[[ProbeEvent, StopRequest], object] | None = None, timeout: float = TIMEOUT
) -> tuple[TargetReport, list[ProbeEvent]]:
    """Run a sweep; return its report and its events."""
    events: list[ProbeEvent] = []
    flow = make_flow(address, timeout=timeout, size_sweep=True)
    with closing(StopRequest()) as stop_request:

        def record(event: ProbeEvent) -> None:
            events.append(event)
            if on_event:
                on_event(event, stop_request)

        random_run = count(1).__next__
        sweep = MtuSweep(flow, stop_request, record, random_run=random_run, index=5, limit_pause_ns=0)
        try:
            return sweep.run(), events
        finally:
            if flow.connection:
                flow.connection.close()


@pytest.mark.parametrize("largest", [MIN_SIZE, 1472])
def test_the_largest_echoed_size_is_found_to_the_byte(largest: int) -> None:
    with Server("udp://127.0.0.1:0", limits=Limits(max_bytes=largest)) as server:
        target, events = sweep(str(server.address))
    assert target.largest_bytes == largest
    assert {event.size for event in events if event.outcome == "reply"} >= {MIN_SIZE, largest}
    assert max(event.size for event in events if event.outcome == "reply") == largest
    assert target.peer == server.address.place
    assert target.size_limit == SizeLimit(largest + 1, "server")


def test_a_last_try_that_is_echoed_does_not_change_the_evidence() -> None:
    for largest in range(1000, 1003):
        with datagram_peer(lambda datagram, end=largest: [datagram if len(datagram) <= end else datagram[:-1]]) as port:  # type: ignore[misc]  # binds this turn's values
            target, _ = sweep(f"udp://127.0.0.1:{port}", timeout=5)
        assert target.size_limit == SizeLimit(largest + 1, "reply")


def test_if_the_largest_size_is_echoed_two_probes_are_enough() -> None:
    with Server("udp://127.0.0.1:0") as server:
        target, events = sweep(str(server.address), timeout=5)
    assert (target.largest_bytes, target.sent, target.received, target.lost) == (MAX_DATAGRAM, 2, 2, 0)
    assert target.size_limit is None
    assert [(event.target, event.number, event.size) for event in events] == [(5, 0, MIN_SIZE), (5, 1, MAX_DATAGRAM)]
    assert target.round_trip


def test_without_any_echo_there_is_no_largest_size() -> None:
    with datagram_peer(lambda _: []) as port:
        target, events = sweep(f"udp://127.0.0.1:{port}")
    assert (target.largest_bytes, target.sent, target.received, target.lost) == (None, TRIES, 0, TRIES)
    assert target.size_limit is None
    assert [event.outcome for event in events] == ["lost"] * TRIES


def test_a_closed_port_and_an_unknown_name_are_reported_as_the_failure() -> None:
    target, _ = sweep(f"udp://127.0.0.1:{unused_datagram_port()}")
    assert (target.largest_bytes, "nothing is listening" in (target.failure or "")) == (None, True)
    target, events = sweep("udp://halloo.invalid:9", timeout=5)
    assert (target.sent, dict(target.errors), events) == (0, {"UnknownHost": 1}, [])
    assert "no address is known" in (target.failure or "")


def test_a_size_is_rejected_only_after_several_tries() -> None:
    seen: list[int] = []

    def every_third(datagram: bytes) -> Iterable[bytes]:
        seen.append(len(datagram))
        return [datagram] if seen.count(len(datagram)) == TRIES else []

    with datagram_peer(every_third) as port:
        target, _ = sweep(f"udp://127.0.0.1:{port}")
    assert (target.largest_bytes, target.sent, target.received) == (MAX_DATAGRAM, 2 * TRIES, 2)


@pytest.mark.parametrize("refusals", [TRIES - 1, TRIES])
def test_a_rate_limit_is_no_limit_of_the_path(refusals: int) -> None:
    def limiting(datagram: bytes) -> Iterable[bytes]:
        refused = len(datagram) == MAX_DATAGRAM and next(seen) <= refusals
        return [write_notice(datagram, 1) if refused else datagram]

    seen = count(1)
    with datagram_peer(limiting) as port:
        target, _ = sweep(f"udp://127.0.0.1:{port}", timeout=5)
    assert (target.errors, target.rate_limited) == ({"RateLimited": refusals}, refusals)
    assert target.size_limit == (SizeLimit(MAX_DATAGRAM, "limit") if refusals == TRIES else None)


def test_a_truncated_reply_does_not_count() -> None:
    with datagram_peer(lambda datagram: [datagram[:500]]) as port:
        target, events = sweep(f"udp://127.0.0.1:{port}")
    assert target.largest_bytes == 500
    assert "corrupt" in {event.outcome for event in events}
    assert target.size_limit == SizeLimit(501, "reply")


def test_a_stop_request_ends_the_search_with_the_result_so_far() -> None:
    def stop(event: ProbeEvent, stop_request: StopRequest) -> None:
        stop_request.stop = event.outcome == "reply"

    with Server("udp://127.0.0.1:0") as server:
        target, events = sweep(str(server.address), on_event=stop, timeout=5)
    assert (target.largest_bytes, target.sent, len(events)) == (MIN_SIZE, 1, 1)
    assert target.size_limit is None


def test_a_late_reply_to_an_earlier_try_is_unmatched() -> None:
    delayed: list[bytes] = []

    def respond(datagram: bytes) -> Iterable[bytes]:
        delayed.append(datagram)
        return [] if len(delayed) == 1 else [*delayed[:1], datagram] if len(delayed) == 2 else [datagram]

    with datagram_peer(respond) as port:
        target, _ = sweep(f"udp://127.0.0.1:{port}")
    assert (target.unmatched, target.stray, target.largest_bytes) == (1, 0, MAX_DATAGRAM)
