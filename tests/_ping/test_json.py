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
def test_a_report_is_one_object_whose_numbers_are_numbers(found: PingReport) -> None:
    decoded = json.loads(ping_json(found))
    assert decoded == json.loads(json.dumps(found.to_dict()))
    for name, value in values(decoded):
        if name.endswith("_ns"):
            assert value is None or type(value) is int, name
        if name.endswith("_percent"):
            assert isinstance(value, int | float), name
    assert "histogram" not in ping_json(found)
    assert "\n" not in ping_json(found, indent=None)


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


def test_a_stream_is_an_object_a_line_from_the_start_to_the_report() -> None:
    writes, found = list[str](), report(GOOD)
    sink = PingStream(writes.append)
    sink.begin(found, lambda: found)
    for event in EVENTS:
        sink.probe(event)
    sink.interim(found)
    sink.end(found)
    assert [text.count("\n") for text in writes] == [1] * (len(EVENTS) + 3)  # each line at once
    lines: list[dict[str, Any]] = [json.loads(line) for line in writes]
    kinds = ["error" if event.outcome == "error" else "probe" for event in EVENTS]
    assert [each["event"] for each in lines] == ["start", *kinds, "interval", "end"]
    start, *probes, interval, end = (line["data"] for line in lines)
    assert start["targets"][0]["peer"] == "127.0.0.1:8888"
    assert start["config"]["effective"]["size"] == 128
    assert end == json.loads(ping_json(found))
    assert interval == end["summary"]
    lost, error = probes[3], probes[9]
    assert (lost["outcome"], lost["number"], lost["way"], lost["round_trip_ns"]) == ("lost", 2, "reverse", None)
    assert error["text"].startswith("nothing is listening")
