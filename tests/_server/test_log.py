"""The log of a server and of its clients."""

import json
import socket
from collections.abc import Callable

import pytest

from halloo._core.limits import Limits
from halloo._server import events
from halloo._server.connections import Snapshot
from halloo._server.handlers import RespondHandler
from halloo._server.log import ClientLog, Log
from halloo._server.poller import Poller
from tests.stepping import MAKERS, Stage, ended

PEER = ("127.0.0.1", 51234)


@pytest.fixture
def lines() -> list[str]:
    return []


def test_the_text_form_has_the_events_with_a_text_and_their_tracebacks(lines: list[str]) -> None:
    log = Log(lines.append)
    log(events.worker_error("  File\n  ValueError"))
    log(events.stopping(1))
    assert lines == ["halloo: a worker has failed:", "  File", "  ValueError"]


def test_the_json_form_has_every_event_with_the_time_and_the_worker(lines: list[str]) -> None:
    log = Log(lines.append, "json", now=lambda: 0.5)
    log(events.stopping(1))
    log.worker = 2
    log(events.worker_error("  File\n  ValueError"))
    assert [json.loads(line) for line in lines] == [
        {"time": "1970-01-01T00:00:00.500000Z", "event": "stopping", "worker": None, "data": {"open": 1}},
        {
            "time": "1970-01-01T00:00:00.500000Z",
            "event": "worker_error",
            "worker": 2,
            "data": {"traceback": "  File\n  ValueError"},
        },
    ]


def test_counts_may_replace_the_last_ones(lines: list[str]) -> None:
    replaced: list[str] = []
    log = Log(lines.append, replace=replaced.append)
    log(events.stats(Snapshot(), Snapshot()))
    assert (len(replaced), lines) == (1, [])


def test_a_reused_descriptor_belongs_to_its_new_client(lines: list[str]) -> None:
    clients = ClientLog(Log(lines.append, "json"))
    for port in (1, 2):
        clients.opened(5, ("127.0.0.1", port), "")
        clients.closed(5, "")
    assert [json.loads(line)["data"]["peer"][1] for line in lines] == [1, 1, 2, 2]


# The bytes of a connection.


class Traffic:
    """The bytes of the connections that a loop has closed, beside its own counts."""

    def __init__(self) -> None:
        self.seen: list[events.Event] = []
        self.observer = ClientLog(self.seen.append, measure=True)

    def of(self, stage: Stage) -> tuple[int, int]:
        """Return the bytes both ways of the closed connections, which are all of them."""
        data = [event.data for event in self.seen if event.name == "closed"]
        assert len(data) == stage.snapshot.accepted
        received, sent = (sum(int(str(each[name])) for each in data) for name in ("received_bytes", "sent_bytes"))
        assert (received, sent) == (stage.snapshot.received_bytes, stage.snapshot.sent_bytes)
        return received, sent


@pytest.mark.parametrize("make_poller", MAKERS)
@pytest.mark.parametrize("limits", [Limits(), Limits(idle_timeout=60)], ids=["echo", "limited"])
def test_a_close_has_the_bytes_both_ways(make_poller: Callable[[], Poller], limits: Limits) -> None:
    traffic = Traffic()
    with Stage(limits, poller=make_poller(), observer=traffic.observer) as stage:
        for size in (5, 100_000):
            client = stage.connect()
            stage.echo(client, bytes(size))
            client.shutdown(socket.SHUT_WR)
            stage.until(lambda: stage.snapshot.open == 0)
        unread = stage.flood(stage.connect())  # of which a part is pending when its connection is closed
        stage.loop.shutdown()
        received, sent = traffic.of(stage)
        assert received > sent
        assert received <= 100_005 + unread


def test_a_close_has_what_was_read_before_the_server_ended_the_connection() -> None:
    traffic = Traffic()
    with Stage(Limits(max_bytes=3), observer=traffic.observer) as stage:
        client = stage.connect()
        client.sendall(b"hello")
        assert ended(client) or stage.read(client) == b"hel"
        client.sendall(b"discarded")
        client.close()
        stage.until(lambda: stage.snapshot.open == 0)
        assert traffic.of(stage)[1] == 3


def test_a_close_has_the_bytes_of_a_handler() -> None:
    traffic = Traffic()
    with Stage(handler=RespondHandler(lambda _: b"no", "line", b"hi\n"), observer=traffic.observer) as stage:
        client = stage.connect()
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert stage.read(client) == b"hi\nno\n"
        assert traffic.of(stage) == (6, 6)
