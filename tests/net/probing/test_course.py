"""When a target's next probe may leave, by what a probe is there."""

import pytest

from halloo.core.account import Account
from halloo.core.addresses import parse
from halloo.core.clocks import Instant
from halloo.core.probe import Probes
from halloo.core.roundtrips import Target
from halloo.net.probing.course import Course
from halloo.net.probing.lanes import Dial, Lane

WAIT = 10.0  # seconds that no test takes


def course(address: str, *, reconnect: bool = False, connect: bool = False) -> Course:
    lane = Lane(Dial(parse(address), WAIT), run=1, size=128)
    return Course(lane, Account(0, Probes(1, 128), 5, Target(address, address, None, None)), reconnect, connect)


@pytest.mark.parametrize(("scheme", "stream"), [("tcp", True), ("tls", True), ("udp", False)])
def test_datagrams_get_lost_and_streams_end(scheme: str, stream: bool) -> None:
    assert course(f"{scheme}://localhost").stream == stream


@pytest.mark.parametrize(("options", "held"), [({}, False), ({"reconnect": True}, True), ({"connect": True}, True)])
def test_a_probe_with_a_connection_of_its_own_waits_for_the_last_one(options: dict[str, bool], held: bool) -> None:
    one = course("localhost", **options)
    assert (one.apart, one.held) == (bool(options), False)
    one.account.send(Instant(0, 0))
    assert one.held == held
