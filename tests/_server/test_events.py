"""Each event as a line for people and as JSON for programs; and the page that documents them."""

import inspect
import json
import re
from pathlib import Path

import pytest

from halloo._output.lines import MAX_LINE
from halloo._server import events
from halloo._server.connections import Snapshot
from halloo._server.events import Event, format_interval, format_peer, format_totals, json_line
from halloo._server.handlers import PeerName

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
PEER = ("127.0.0.1", 51234)
PEER6 = ("::1", 51234, 0, 0)
TCP, UDP = "tcp://127.0.0.1:8888", "udp://127.0.0.1:8888"
SEEN = Snapshot(accepted=2, open=1, refused={"denied": 1}, uptime_seconds=1.5)
EVERY = [
    events.listening(TCP),
    events.publishing(TCP, "http://127.0.0.1:9100/metrics"),
    events.certificate_made("ab"),
    events.hint("this is loopback"),
    events.stats(SEEN, Snapshot(accepted=1, uptime_seconds=1)),
    events.reloaded(),
    events.reload_failed("a.pem does not exist"),
    events.stopping(3),
    events.stopped(SEEN),
    events.error("no"),
    events.dropped(12),
    events.connected(PEER, TCP),
    events.datagram_received(PEER6, UDP),
    events.refused(PEER, UDP, "rate_limit", 812),
    events.closed(PEER, TCP, "", 1.25, 11, 10),
    events.respond_error("ValueError", "  ValueError: no"),
    events.worker_started(1, 4711, again=True),
    events.worker_exited(1, 4711, "SIGKILL", 3),
    events.worker_start_failed(1, "Resource temporarily unavailable", 0.1),
    events.worker_error("  ValueError: no"),
]


def documented() -> dict[str, set[str]]:
    """Read the page's table: the fields of each event."""
    section = PAGE.read_text(encoding="utf-8").partition("### Events\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}


def test_every_event_is_documented_with_its_data_and_no_other() -> None:
    made = inspect.getmembers(
        events, lambda each: inspect.isfunction(each) and each.__annotations__.get("return") is Event
    )
    assert {event.name for event in EVERY} == {name for name, _ in made}
    assert documented() == {event.name: set(event.data) for event in EVERY}


def test_a_json_line_has_the_time_the_event_the_worker_and_its_data() -> None:
    event = events.closed(PEER6, TCP, "idle_timeout", 1.25, 11, 10)
    assert json.loads(json_line(event, 1_700_000_000.25, worker=2)) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "event": "closed",
        "worker": 2,
        "data": {
            "peer": ["::1", 51234],
            "listener": TCP,
            "reason": "idle_timeout",
            "duration_ns": 1_250_000_000,
            "received_bytes": 11,
            "sent_bytes": 10,
        },
    }


def test_a_close_by_the_client_has_a_null_reason() -> None:
    assert events.closed(PEER, TCP, "", 1, 0, 0).data["reason"] is None


def test_stats_have_the_totals_and_the_interval() -> None:
    data = json.loads(json_line(events.stats(SEEN, Snapshot(accepted=1, uptime_seconds=1)), 0))["data"]
    assert data["interval"]["accepted"] == 1
    assert data["interval"]["duration_ns"] == 500_000_000
    assert (data["total"]["uptime_ns"], data["total"]["refused"]) == (1_500_000_000, {"denied": 1})


def test_text_reports_clients_as_the_tutorial_does() -> None:
    assert events.connected(PEER, TCP).text == "Connected by ('127.0.0.1', 51234)"
    assert events.datagram_received(PEER, UDP).text == "Datagrams from ('127.0.0.1', 51234)"
    assert events.refused(PEER, TCP, "max_per_host", 1).text == "Refused ('127.0.0.1', 51234): max per host"
    assert events.refused(PEER, UDP, "rate_limit", 8).text == "Refused ('127.0.0.1', 51234): rate limit, 8 datagrams"
    assert events.closed(PEER, TCP, "idle_timeout", 1, 0, 0).text is None


@pytest.mark.parametrize("character", ["x", "\x1b", "\n", '"', "\udcff", "\U0001f600"])
def test_a_json_line_is_bounded_printable_and_valid_for_any_text(character: str) -> None:
    event = events.respond_error("ValueError", f"{character * 30_000}the error")
    line = json_line(event, 0)
    assert len(line) < MAX_LINE
    assert line.isprintable()
    assert json.loads(line)["data"]["traceback"].endswith("the error")
    json.loads(line)["data"]["traceback"].encode()  # no lone surrogate


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (PEER, "('127.0.0.1', 51234)"),
        (PEER6, "('::1', 51234)"),
        ("", "a local process"),
        ("/run/\x1b[31mred", "/run/\\x1b[31mred"),
        ("/run/a\nConnected by b", "/run/a\\nConnected by b"),
        ("/run/\udcff", "/run/\\xff"),
        (b"\0abstract", "@abstract"),
        (b"\0\xff\0\x1b[31m", "@\\xff\\x00\\x1b[31m"),
    ],
)
def test_an_address_is_escaped(peer: PeerName, text: str) -> None:
    assert format_peer(peer) == text


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        (b"\0abstract", "@abstract"),
        (b"\0\xff\n\0", "@\\xff\n\0"),
        ("/run/\x1b[31m\udcff", "/run/\x1b[31m\\xff"),
    ],
)
def test_json_log_has_any_name_of_a_unix_socket(peer: PeerName, name: str) -> None:
    line = json_line(events.connected(peer, "unix:/run/echo"), 0)
    assert line.isprintable()
    assert json.loads(line)["data"]["peer"] == name


def test_an_interval_line_has_the_state_and_the_rates() -> None:
    before = Snapshot(accepted=10, messages=100, received_bytes=1000, sent_bytes=1000, uptime_seconds=5)
    now = Snapshot(
        accepted=20,
        open=3,
        messages=600,
        received_bytes=1000 + 10 * 1024,
        sent_bytes=1000 + 5 * 1024,
        uptime_seconds=10,
    )
    assert format_interval(now, before) == "3 open, 2 clients/s, 100 echoes/s, 2KiB/s in, 1KiB/s out"


def test_two_snapshots_at_one_time_do_not_divide_by_zero() -> None:
    assert format_interval(Snapshot(uptime_seconds=5), Snapshot(uptime_seconds=5)).startswith("0 open, 0 clients/s")


def test_an_interval_line_has_problems() -> None:
    now = Snapshot(
        pending_write_bytes=2048,
        oldest_pending_write_seconds=3,
        refused={"denied": 2},
        ended={"idle_timeout": 1},
        errors={"EPIPE": 1, "ECONNRESET": 4},
        uptime_seconds=1,
    )
    assert format_interval(now, Snapshot()).endswith(
        ", 2KiB pending for 3s, refused: denied 2, ended: idle_timeout 1, errors: EPIPE 1 ECONNRESET 4"
    )


def test_totals_have_all_counts() -> None:
    seen = Snapshot(accepted=2, received_bytes=11, sent_bytes=10, uptime_seconds=1.5)
    assert format_totals(seen) == "2 clients in 1.5s, 11 bytes in, 10 bytes out"


def test_totals_have_bytes_cut_off() -> None:
    seen = Snapshot(accepted=1, lost_bytes=7, ended={"cut_off": 1}, uptime_seconds=1)
    assert format_totals(seen) == "1 client in 1s, 0 bytes in, 0 bytes out, 7 bytes cut off, ended: cut_off 1"


def test_datagrams_are_reported_if_there_are_any() -> None:
    now = Snapshot(datagrams=30, messages=20, dropped=4, uptime_seconds=10)
    assert format_interval(now, Snapshot(datagrams=10)) == (
        "0 open, 0 clients/s, 2 datagrams/s, 2 echoes/s, 0B/s in, 0B/s out, 4 datagrams dropped by the kernel"
    )


@pytest.mark.parametrize(
    ("seen", "received"),
    [
        (Snapshot(), "0 clients"),
        (Snapshot(datagrams=5), "5 datagrams"),
        (Snapshot(accepted=2, datagrams=5), "2 clients and 5 datagrams"),
    ],
)
def test_totals_have_clients_and_datagrams(seen: Snapshot, received: str) -> None:
    assert format_totals(seen).startswith(f"{received} in ")
