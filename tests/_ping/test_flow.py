import pytest

from halloo._ping.delays import Instant
from halloo._ping.flow import Connecting
from halloo._server.server import Server
from tests._ping.flows import make_flow, open_flow


def test_all_schemes_but_udp_are_streams() -> None:
    assert [make_flow(f"{scheme}://localhost").stream for scheme in ("tcp", "tls", "udp")] == [True, True, False]


@pytest.mark.parametrize(("options", "busy"), [({}, False), ({"reconnect": True}, True), ({"connect": True}, True)])
def test_a_flow_is_busy_while_it_connects_and_a_one_shot_one_while_its_probe_is_pending(
    options: dict[str, bool], busy: bool
) -> None:
    flow = make_flow("localhost", **options)
    assert (flow.one_shot, flow.busy, flow.connection) == (bool(options), False, None)
    flow.tracker.send(Instant(0, 0))
    assert flow.busy == busy
    flow.state = Connecting(None)
    assert (flow.busy, flow.connection) == (True, None)


def test_the_tracker_reports_what_is_known_of_the_open_connection() -> None:
    with Server("127.0.0.1:0") as server:
        flow = make_flow(server.address, user_clock=True, ttl=7)
        flow.describe()
        assert flow.tracker.report().peer is None
        open_flow(flow)
        flow.describe()
        report = flow.tracker.report()
        assert flow.connection
        flow.connection.close()
    assert (report.peer, report.ttl, report.clock) == (server.address.place, 7, "user")
