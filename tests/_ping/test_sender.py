"""Sending the probes of a schedule over real sockets, without the loop that decides when."""

from halloo._ping.delays import Instant
from halloo._ping.flow import Connecting
from halloo._ping.scheduler import system_clocks
from halloo._ping.sender import ERROR_PAUSE
from halloo.errors import Refused, Reset
from tests._ping.flows import sending
from tests.peers import datagram_peer, echo_datagram, full, silent, unused_port


def test_a_probe_is_sent_in_its_turn_and_a_reply_makes_the_flow_ready() -> None:
    with datagram_peer(echo_datagram) as port, sending(f"udp://127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        assert (made.schedule.planned, made.flow.tracker.counters.pending) == (1, 1)
        assert made.sender.expiries.earliest()
        now = system_clocks().steady_ns
        assert [*made.waiter.flows(made.waiter.wait(now + 10**10, now))] == [made.flow]


def test_a_prepared_probe_is_sent_later_unless_the_connection_is_closed() -> None:
    with datagram_peer(echo_datagram) as port, sending(f"udp://127.0.0.1:{port}") as made:
        made.sender.prepare(made.flow, system_clocks())
        assert made.sender.prepared is None  # the first probe waits for its turn
        made.sender.send_next(made.flow)
        for _ in range(2):
            made.sender.prepare(made.flow, system_clocks())
            assert made.sender.send_prepared(system_clocks()) is None
        assert (made.flow.tracker.counters.sent, made.schedule.planned) == (3, 3)
        made.sender.prepare(made.flow, system_clocks())
        made.sender.close(made.flow)
        assert made.sender.prepared is None
        assert made.sender.send_prepared(system_clocks()) is None
        assert made.flow.tracker.counters.sent == 3


def test_the_turn_of_a_busy_flow_is_skipped() -> None:
    with full() as address, sending(f"{address[0]}:{address[1]}", connected=False) as made:
        for _ in range(2):
            made.sender.send_next(made.flow)
        assert isinstance(made.flow.state, Connecting)
        assert (made.schedule.planned, made.schedule.skipped_waiting) == (1, 1)


def test_a_connection_that_failed_before_the_first_probe_is_reported_with_it() -> None:
    with sending(f"127.0.0.1:{unused_port()}", connected=False) as made:
        made.sender.connector.start(made.flow)
        while made.sender.connector:
            waited = made.sender.connector.wait_set()
            now = system_clocks().steady_ns
            made.sender.connector.advance(made.waiter.wait(now + 10**9, now, waited, flows=False))
        assert made.events == []
        before = system_clocks().steady_ns
        made.sender.send_next(made.flow)
        assert made.outcomes == [("error", 0)]
        assert made.sender.paused_until >= before + ERROR_PAUSE
        assert made.flow.state is None


def test_a_failed_stream_fails_all_its_probes_and_a_datagram_error_the_latest() -> None:
    with silent() as port, sending(f"127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        made.sender.send_next(made.flow)
        made.sender.fail_connection(made.flow, Reset("reset"))
        assert made.outcomes == [("error", 0), ("error", 1)]
        assert made.flow.connection is None
        made.sender.fail_connection(made.flow, Reset("reset"))  # none is pending
        assert made.outcomes[2:] == [("error", None)]
    with datagram_peer(lambda _: []) as port, sending(f"udp://127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        made.sender.send_next(made.flow)
        made.sender.fail_connection(made.flow, Refused("refused"))
        assert made.outcomes == [("error", 1)]
        assert made.flow.connection


def test_a_one_shot_probe_closes_the_connection_of_the_last_one() -> None:
    with silent() as port, sending(f"127.0.0.1:{port}", reconnect=True) as made:
        made.sender.send_next(made.flow)
        first = made.flow.connection
        assert first
        made.flow.tracker.fail(0, ("Reset", "lost"), Instant(0, 0))
        made.sender.send_next(made.flow)
        assert made.flow.state is not first
        assert first.socket.fileno() < 0
