import json

import pytest

from halloo.report.log import JsonLog, TextLog, shown

PEER = ("127.0.0.1", 51234)
PEER6 = ("::1", 51234, 0, 0)


@pytest.fixture
def lines() -> list[str]:
    return []


def test_a_person_reads_who_has_come_as_in_the_tutorial(lines: list[str]) -> None:
    TextLog(lines.append).opened(5, PEER)
    assert lines == ["Connected by ('127.0.0.1', 51234)"]


def test_a_person_reads_who_was_turned_away_and_why(lines: list[str]) -> None:
    TextLog(lines.append).refused(PEER, "max_per_host")
    assert lines == ["Refused ('127.0.0.1', 51234): max per host"]


def test_a_person_reads_who_sends_datagrams(lines: list[str]) -> None:
    TextLog(lines.append).heard(PEER)
    assert lines == ["Heard from ('127.0.0.1', 51234)"]


def test_a_program_reads_who_sends_datagrams(lines: list[str]) -> None:
    JsonLog(lines.append).heard(PEER)
    assert json.loads(lines[0]) == {"event": "heard", "data": {"peer": ["127.0.0.1", 51234], "reason": None}}


def test_that_somebody_leaves_is_no_news(lines: list[str]) -> None:
    TextLog(lines.append).closed(5, "idle_timeout")
    assert lines == []


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (PEER, "('127.0.0.1', 51234)"),
        (PEER6, "('::1', 51234)"),
        ("", "a local process"),
        ("/run/\x1b[31mred", "/run/\\x1b[31mred"),
    ],
)
def test_an_address_is_shown_safely(peer: str | tuple[str, int], text: str) -> None:
    assert shown(peer) == text


def test_a_machine_reads_an_object_a_line(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, PEER6)
    log.refused(PEER, "denied")
    log.closed(5, "idle_timeout")
    assert [json.loads(line) for line in lines] == [
        {"event": "connected", "data": {"peer": ["::1", 51234], "reason": None}},
        {"event": "refused", "data": {"peer": ["127.0.0.1", 51234], "reason": "denied"}},
        {"event": "closed", "data": {"peer": ["::1", 51234], "reason": "idle_timeout"}},
    ]


def test_the_client_s_own_wish_is_no_reason(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, PEER)
    log.closed(5, "")
    assert json.loads(lines[-1])["data"]["reason"] is None


def test_a_number_that_is_given_anew_belongs_to_its_new_client(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    for port in (1, 2):
        log.opened(5, ("127.0.0.1", port))
        log.closed(5, "")
    assert [json.loads(line)["data"]["peer"][1] for line in lines] == [1, 1, 2, 2]


def test_a_local_process_has_no_address(lines: list[str]) -> None:
    log = JsonLog(lines.append)
    log.opened(5, "")
    assert json.loads(lines[0])["data"]["peer"] == ""
