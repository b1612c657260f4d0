"""The log of a server: each event as a line for people and as JSON for programs; and the page that documents them."""

import ast
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import halloo
from halloo._core.limits import Limits
from halloo._output.lines import MAX_LINE
from halloo._server.counters import Snapshot
from halloo._server.handlers import PeerName, RespondHandler
from halloo._server.log import (
    ClientLog,
    Event,
    Log,
    format_interval,
    format_peer,
    format_totals,
    json_line,
    stats_event,
)
from halloo._server.poller import Poller
from tests.stepping import MAKERS, Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
SRC = Path(halloo.__file__).parent
PEER = ("127.0.0.1", 51234)
PEER6 = ("::1", 51234, 0, 0)
TCP, UDP = "tcp://127.0.0.1:8888", "udp://127.0.0.1:8888"
FAILED = Event("worker_error", "halloo: a worker has failed:", traceback="  File\n  ValueError")
STOPPING = Event("stopping", open=1)


@pytest.fixture
def lines() -> list[str]:
    return []


def data_of(event: Event) -> dict[str, object]:
    """Return the data of an event as JSON has it."""
    found = json.loads(json_line(event, 0))["data"]
    assert isinstance(found, dict)
    return found


# Events.


def reported() -> Iterator[tuple[str, set[str | None]]]:
    """Find each event that the code makes, with the names of its data."""
    texts = (path.read_text(encoding="utf-8") for path in SRC.rglob("*.py"))
    for text in texts:
        for node in ast.walk(ast.parse(text)) if "Event(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Event":
                assert isinstance(node.args[0], ast.Constant)
                yield str(node.args[0].value), {keyword.arg for keyword in node.keywords}


def test_every_event_is_documented_with_its_data_and_no_other() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("### Events\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    found = [*reported()]
    for name, data in found:
        assert documented[name] == data
    assert documented.keys() == {name for name, _ in found}


def test_the_text_form_has_the_events_with_a_text_and_their_tracebacks(lines: list[str]) -> None:
    log = Log(lines.append)
    log(FAILED)
    log(STOPPING)
    assert lines == ["halloo: a worker has failed:", "  File", "  ValueError"]


def test_the_json_form_has_every_event_with_the_time_and_the_worker(lines: list[str]) -> None:
    log = Log(lines.append, "json", now=lambda: 1_700_000_000.25)
    log(STOPPING)
    log.worker = 2
    log(FAILED)
    moment = "2023-11-14T22:13:20.250000Z"
    assert [json.loads(line) for line in lines] == [
        {"time": moment, "event": "stopping", "worker": None, "data": {"open": 1}},
        {"time": moment, "event": "worker_error", "worker": 2, "data": {"traceback": "  File\n  ValueError"}},
    ]


def test_counts_may_replace_the_last_ones(lines: list[str]) -> None:
    replaced: list[str] = []
    log = Log(lines.append, replace=replaced.append)
    log(stats_event(Snapshot(), Snapshot()))
    assert (len(replaced), lines) == (1, [])


@pytest.mark.parametrize("character", ["x", "\x1b", "\n", '"', "\udcff", "\U0001f600"])
def test_a_json_line_is_bounded_printable_and_valid_for_any_text(character: str) -> None:
    event = Event("respond_error", error="ValueError", traceback=f"{character * 30_000}the error")
    line = json_line(event, 0)
    assert len(line) < MAX_LINE
    assert line.isprintable()
    traceback = json.loads(line)["data"]["traceback"]
    assert traceback.endswith("the error")
    traceback.encode()  # no lone surrogate


# Clients.


def test_clients_are_reported_as_the_tutorial_does_and_with_their_data() -> None:
    seen: list[Event] = []
    now = iter([10.0, 11.25])
    clients = ClientLog(seen.append, clock=lambda: next(now))
    clients.opened(5, PEER6, TCP)
    clients.datagram_received(PEER, UDP)
    clients.refused(PEER, TCP, "max_per_host")
    clients.refused(PEER, UDP, "rate_limit", 8)
    clients.closed(5, "idle_timeout")
    assert [event.text for event in seen] == [
        "Connected by ('::1', 51234)",
        "Datagrams from ('127.0.0.1', 51234)",
        "Refused ('127.0.0.1', 51234): max per host",
        "Refused ('127.0.0.1', 51234): rate limit, 8 datagrams",
        None,
    ]
    assert data_of(seen[3]) == {"peer": [*PEER], "listener": UDP, "reason": "rate_limit", "count": 8}
    assert data_of(seen[4]) == {
        "peer": ["::1", 51234],
        "listener": TCP,
        "reason": "idle_timeout",
        "duration_ns": 1_250_000_000,
        "received_bytes": 0,
        "sent_bytes": 0,
    }


def test_a_reused_descriptor_belongs_to_its_new_client() -> None:
    seen: list[Event] = []
    clients = ClientLog(seen.append)
    for port in (1, 2):
        clients.opened(5, ("127.0.0.1", port), "")
        clients.closed(5, "")
    assert [event.data["peer"] for event in seen] == [["127.0.0.1", port] for port in (1, 1, 2, 2)]
    assert seen[1].data["reason"] is None  # the client closed


@pytest.mark.parametrize(
    ("peer", "text", "name"),
    [
        ("", "a local process", ""),
        ("/run/\x1b[31m\udcff", "/run/\\x1b[31m\\xff", "/run/\x1b[31m\\xff"),
        ("/run/a\nConnected by b", "/run/a\\nConnected by b", "/run/a\nConnected by b"),
        (b"\0abstract", "@abstract", "@abstract"),
        (b"\0\xff\0\x1b[31m", "@\\xff\\x00\\x1b[31m", "@\\xff\0\x1b[31m"),
    ],
)
def test_any_name_of_a_unix_socket_is_escaped_in_text_and_kept_in_json(peer: PeerName, text: str, name: str) -> None:
    assert format_peer(peer) == text
    seen: list[Event] = []
    ClientLog(seen.append).opened(5, peer, "unix:/run/echo")
    assert json_line(seen[0], 0).isprintable()
    assert data_of(seen[0])["peer"] == name


# The bytes of a connection.


class Traffic:
    """The bytes of the connections that a loop has closed, beside its own counts."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
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
        assert stage.read(client, 3) == b"hel"
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


# Counts.


def test_statistics_have_the_state_and_the_rates_of_the_interval() -> None:
    before = Snapshot(accepted=10, messages=100, received_bytes=1000, sent_bytes=1000, uptime_seconds=5)
    now = Snapshot(
        accepted=20,
        open=3,
        messages=600,
        received_bytes=1000 + 10 * 1024,
        sent_bytes=1000 + 5 * 1024,
        uptime_seconds=10,
        refused={"denied": 1},
    )
    event = stats_event(now, before)
    assert event.text == "3 open, 2 clients/s, 100 echoes/s, 2KiB/s in, 1KiB/s out, refused: denied 1"
    interval, total = event.data["interval"], event.data["total"]
    assert isinstance(interval, dict)
    assert isinstance(total, dict)
    assert (interval["accepted"], interval["duration_ns"]) == (10, 5_000_000_000)
    assert (total["uptime_ns"], total["refused"]) == (10_000_000_000, {"denied": 1})


def test_two_snapshots_at_one_time_do_not_divide_by_zero() -> None:
    assert format_interval(Snapshot(uptime_seconds=5), Snapshot(uptime_seconds=5)).startswith("0 open, 0 clients/s")


def test_statistics_have_problems_and_datagrams_if_there_are_any() -> None:
    now = Snapshot(
        datagrams=30,
        messages=20,
        dropped=4,
        pending_write_bytes=2048,
        oldest_pending_write_seconds=3,
        ended={"idle_timeout": 1},
        errors={"EPIPE": 1, "ECONNRESET": 4},
        uptime_seconds=10,
    )
    assert format_interval(now, Snapshot(datagrams=10)) == (
        "0 open, 0 clients/s, 2 datagrams/s, 2 echoes/s, 0B/s in, 0B/s out, 4 datagrams dropped by the kernel, "
        "2KiB pending for 3s, ended: idle_timeout 1, errors: EPIPE 1 ECONNRESET 4"
    )


def test_totals_have_clients_datagrams_and_bytes_cut_off() -> None:
    seen = Snapshot(accepted=2, received_bytes=11, sent_bytes=10, uptime_seconds=1.5)
    assert format_totals(seen) == "2 clients in 1.5s, 11 bytes in, 10 bytes out"
    seen = Snapshot(accepted=1, lost_bytes=7, ended={"cut_off": 1}, uptime_seconds=1)
    assert format_totals(seen) == "1 client in 1s, 0 bytes in, 0 bytes out, 7 bytes cut off, ended: cut_off 1"
    for seen, received in (
        (Snapshot(), "0 clients"),
        (Snapshot(datagrams=5), "5 datagrams"),
        (Snapshot(accepted=2, datagrams=5), "2 clients and 5 datagrams"),
    ):
        assert format_totals(seen).startswith(f"{received} in ")
