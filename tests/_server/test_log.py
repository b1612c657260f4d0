import json

import pytest

from halloo._server.connections import Snapshot
from halloo._server.handlers import PeerName
from halloo._server.log import JsonLog, TextLog, dropped_json, format_interval, format_peer, format_totals

PEER = ("127.0.0.1", 51234)
PEER6 = ("::1", 51234, 0, 0)


@pytest.fixture
def lines() -> list[str]:
    return []


def test_text_log_reports_a_connection_as_the_tutorial_does(lines: list[str]) -> None:
    TextLog(lines.append).opened(5, PEER)
    assert lines == ["Connected by ('127.0.0.1', 51234)"]


def test_text_log_reports_a_refused_client_and_the_reason(lines: list[str]) -> None:
    TextLog(lines.append).refused(PEER, "max_per_host")
    TextLog(lines.append).refused(PEER, "rate_limit", 812)
    assert lines == [
        "Refused ('127.0.0.1', 51234): max per host",
        "Refused ('127.0.0.1', 51234): rate limit, 812 datagrams",
    ]


def test_text_log_reports_a_datagram_sender(lines: list[str]) -> None:
    TextLog(lines.append).datagram_received(PEER)
    assert lines == ["Datagrams from ('127.0.0.1', 51234)"]


def test_json_log_reports_a_datagram_sender(lines: list[str]) -> None:
    JsonLog(lines.append).datagram_received(PEER)
    assert json.loads(lines[0]) == {
        "event": "datagram_received",
        "data": {"peer": ["127.0.0.1", 51234], "reason": None},
    }


def test_text_log_does_not_report_a_closed_connection(lines: list[str]) -> None:
    TextLog(lines.append).closed(5, "idle_timeout")
    assert lines == []


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


def test_json_log_writes_an_object_a_line(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, PEER6)
    log.refused(PEER, "denied")
    log.closed(5, "idle_timeout")
    assert [json.loads(line) for line in lines] == [
        {"event": "connected", "data": {"peer": ["::1", 51234], "reason": None}},
        {"event": "refused", "data": {"peer": ["127.0.0.1", 51234], "reason": "denied", "count": 1}},
        {"event": "closed", "data": {"peer": ["::1", 51234], "reason": "idle_timeout"}},
    ]


def test_json_log_has_a_null_reason_for_a_close_by_the_client(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, PEER)
    log.closed(5, "")
    assert json.loads(lines[-1])["data"]["reason"] is None


def test_a_reused_descriptor_belongs_to_its_new_client(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    for port in (1, 2):
        log.opened(5, ("127.0.0.1", port))
        log.closed(5, "")
    assert [json.loads(line)["data"]["peer"][1] for line in lines] == [1, 1, 2, 2]


def test_a_unix_socket_client_has_no_address(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, "")
    assert json.loads(lines[0])["data"]["peer"] == ""


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        (b"\0abstract", "@abstract"),
        (b"\0\xff\n\0", "@\\xff\n\0"),
        ("/run/\x1b[31m\udcff", "/run/\x1b[31m\\xff"),
    ],
)
def test_json_log_has_any_name_of_a_unix_socket(lines: list[str], peer: PeerName, name: str) -> None:
    JsonLog(lines.append).opened(5, peer)
    assert lines[0].isprintable()
    assert json.loads(lines[0])["data"]["peer"] == name


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


def test_dropped_lines_are_an_event_of_the_json_log() -> None:
    assert json.loads(dropped_json(12)) == {"event": "dropped", "data": {"lines": 12}}
