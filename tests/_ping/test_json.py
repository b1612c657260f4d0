import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from halloo._ping.json import PingStream, ReportSink, ping_json
from halloo._ping.report import PingReport
from tests._ping.sample_reports import EVENTS, GOOD, REPORTS, report


def values(found: object) -> Iterator[tuple[str, object]]:
    """Yield all names with their values, at every depth."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield name, value
            yield from values(value)
    elif isinstance(found, list):
        for value in found:
            yield from values(value)


@pytest.mark.parametrize("found", REPORTS)
def test_a_report_is_one_object(found: PingReport) -> None:
    assert json.loads(ping_json(found)) == json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize("found", REPORTS)
def test_numbers_are_numbers(found: PingReport) -> None:
    for name, value in values(json.loads(ping_json(found))):
        if name.endswith("_ns"):
            assert value is None or type(value) is int, name
        if name.endswith("_percent"):
            assert isinstance(value, int | float), name


def test_without_indent_it_is_a_line() -> None:
    assert "\n" not in ping_json(report(GOOD), indent=None)


def test_values_without_a_json_form_are_null_or_text() -> None:
    odd: dict[str, object] = {
        "never": math.inf,
        "nothing": math.nan,
        "of": (1, {2}),
        "thing": EVENTS,
        "three": {3: "three"},
    }
    found: dict[str, Any] = json.loads(ping_json(replace(report(GOOD), supplied=odd)))["config"]["supplied"]
    assert (found["never"], found["nothing"], found["of"], found["three"]) == (None, None, [1, [2]], {"3": "three"})
    assert isinstance(found["thing"][0], str)


def test_single_round_trips_are_not_in_json() -> None:
    assert "histogram" not in ping_json(report(GOOD))


def test_the_report_is_written_at_the_end() -> None:
    writes, found = list[str](), report(GOOD)
    sink = ReportSink(writes.append, ping_json)
    sink.begin(found, lambda: found)
    sink.probe(EVENTS[0])
    sink.interim(found)
    assert writes == []
    sink.end(found)
    (text,) = writes
    assert json.loads(text)["schema"] == found.to_dict()["schema"]


def streamed() -> list[dict[str, Any]]:
    writes, found = list[str](), report(GOOD)
    sink = PingStream(writes.append)
    sink.begin(found, lambda: found)
    for event in EVENTS:
        sink.probe(event)
    sink.interim(found)
    sink.end(found)
    assert [text.count("\n") for text in writes] == [1] * (len(EVENTS) + 3)  # each line at once
    return [json.loads(line) for line in writes]


def test_a_stream_is_an_object_a_line() -> None:
    events = [each["event"] for each in streamed()]
    kinds = ["error" if event.outcome == "error" else "probe" for event in EVENTS]
    assert events == ["start", *kinds, "interval", "end"]


def test_a_stream_begins_with_the_targets_and_ends_with_the_report() -> None:
    start, *_, interval, end = streamed()
    assert start["data"]["targets"][0]["peer"] == "127.0.0.1:8888"
    assert start["data"]["config"]["effective"]["size"] == 128
    assert end["data"] == json.loads(ping_json(report(GOOD)))
    assert interval["data"] == end["data"]["summary"]


def test_a_probe_in_a_stream_has_its_numbers() -> None:
    lost, error = (streamed()[place]["data"] for place in (4, 10))
    assert (lost["outcome"], lost["number"], lost["way"], lost["round_trip_ns"]) == ("lost", 2, "reverse", None)
    assert error["text"].startswith("nothing is listening")
