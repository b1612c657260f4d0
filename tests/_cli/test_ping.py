"""The command `halloo ping`: its options, outputs and exit codes."""

import dataclasses
import errno
import gzip
import inspect
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from halloo import Server
from halloo._cli.ping import (
    BOTH,
    DEFAULT_TLS,
    METHOD,
    OUTPUT,
    SCHEDULE,
    MethodFlags,
    MultiSink,
    PingOutputFlags,
    ScheduleFlags,
    open_sinks,
)
from halloo._ping.json import ReportSink, ping_json
from halloo._ping.report import PingReport, ProbeEvent
from halloo._ping.run import ping
from tests._ping.sample_reports import EVENTS, GOOD, report
from tests.command import halloo
from tests.peers import unused_port
from tests.programs import PYTHON, Terminal, run

HALLOO = (PYTHON, "-m", "halloo")


def read(*arguments: str) -> tuple[tuple[str, ...], ScheduleFlags, MethodFlags, PingOutputFlags]:
    """Parse the options as the command does."""
    app = App(print_error=False, exit_on_error=False, result_action="return_value")

    @app.default
    def verb(
        *addresses: str,
        schedule: ScheduleFlags = SCHEDULE,
        method: MethodFlags = METHOD,
        output: PingOutputFlags = OUTPUT,
    ) -> tuple[tuple[str, ...], ScheduleFlags, MethodFlags, PingOutputFlags]:
        return addresses, schedule, method, output

    found: tuple[tuple[str, ...], ScheduleFlags, MethodFlags, PingOutputFlags] = app(arguments)
    return found


# The options


def test_the_defaults_are_one_probe_a_second_until_stopped() -> None:
    assert read() == ((), ScheduleFlags(), MethodFlags(), PingOutputFlags())
    found = (SCHEDULE.count, SCHEDULE.interval, SCHEDULE.timeout, SCHEDULE.deadline, SCHEDULE.size)
    assert found == (None, 1.0, 5.0, None, 128)


def test_the_short_options_are_those_of_ping() -> None:
    letters = ["-c", "10k", "-i", "1ms", "-W", "300ms", "-w", "1m", "-s", "1KiB", "-q", "-D", "-U", "a", "b"]
    addresses, schedule, method, output = read(*letters)
    assert addresses == ("a", "b")
    assert schedule == ScheduleFlags(count=10_000, interval=0.001, timeout=0.3, deadline=60, size=1024)
    assert (method.user_clock, output.quiet, output.time_stamps) == (True, True, True)


def test_dscp_is_a_name_or_a_number() -> None:
    found = [read("--dscp", text)[2].dscp for text in ("EF", "af11", "0", "63")]
    assert found == [46, 10, 0, 63]


def test_method_options_are_flags() -> None:
    flags = ["reconnect", "connect", "df", "size-sweep", "busy_poll"]
    method = read(*(f"--{flag}" for flag in flags), "--flows", "8", "--ttl", "3", "--bind", "127.0.0.2")[2]
    assert method == MethodFlags(
        reconnect=True, connect=True, df=True, size_sweep=True, busy_poll=True, flows=8, ttl=3, bind="127.0.0.2"
    )


def test_goals_are_repeatable() -> None:
    output = read("--fail-if", "p99>5ms", "--fail-if", "loss>0.1%", "localhost")[3]
    assert [each.name for each in output.goals] == ["p99", "loss"]


def test_json_goes_to_standard_output_or_into_a_file() -> None:
    destinations = {"": None, "--json": "-", "--json-stream": "-", "-o -": "-", "-o x": "x", "--json -o x": "x"}
    assert {line: read(*line.split())[3].json_destination for line in destinations} == destinations


def test_the_library_and_the_command_have_the_same_options_and_defaults() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(ping).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    typed = dataclasses.asdict(ScheduleFlags()) | dataclasses.asdict(MethodFlags())
    assert typed.keys() | {"family", "tls", "goals", "sink"} == defaults.keys()
    assert {name for name, value in typed.items() if value != defaults[name]} == {"count"}  # until ^C, as in ping


# The help


def test_every_option_has_a_help_text() -> None:
    help_text = halloo("ping", "--help").stdout.decode()
    groups: tuple[type, ...] = (ScheduleFlags, MethodFlags, PingOutputFlags)
    for group in groups:
        explained = re.findall(r'^    (\w+): .*\n    """.+"""$', inspect.getsource(group), re.MULTILINE)
        assert explained == [field.name for field in dataclasses.fields(group)]
    for group in (*groups, type(DEFAULT_TLS), type(BOTH)):
        for field in dataclasses.fields(group):
            assert f"--{field.name.replace('_', '-')}" in help_text


MISUSED = {
    "-s max": "--size must be a size, not max; write 500 or 1KiB, or find the largest with --size-sweep",
    "--fail-if p99": "'p99' is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0",
    "--fail-if p99>soon": "'soon' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number",
    "--dscp fast": "--dscp 'fast' is not a DSCP; write EF, AF11 to AF43, CS0 to CS7, VA, BE, LE, or 0 to 63",
    "-o -q": "--output '-q' is an option, not a file; write ./-q for a file of that name",
    "-o ''": "--output needs the name of a file; - is standard input or output",
    "-o /no/where": "/no/where cannot be written: no such file or directory; name another file",
    "--json --hdr -": (
        "--hdr and the JSON cannot share standard output; name another file for one of them: --hdr FILE"
    ),
    "-o ./same --hdr same": "--hdr and the JSON cannot share same; name another file for one of them: --hdr FILE",
    "--json --json-stream": "--json and --json-stream exclude each other; give one of them",
    "-W 0": "--timeout must be more than 0 seconds, not 0; 5 seconds is usual",
    "tls://localhost --cert /no/where": "/no/where does not exist; name a PEM file with --cert",
    "--size-sweep localhost": "--size-sweep needs datagrams; write udp:// before the host, or omit it",
    "-i": "-i needs a value; see: halloo ping --help",
}


def test_invalid_options_are_usage_errors() -> None:
    for line, message in MISUSED.items():
        done = halloo("ping", *shlex.split(line))
        assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"halloo: {message}\n")


# Outputs


def write_sample(output: PingOutputFlags) -> None:
    """Write a sample ping."""
    found = report(GOOD)
    with open_sinks(output) as sink:
        sink.begin(found, lambda: found)
        for event in EVENTS:
            sink.probe(event)
        sink.interim(found)
        sink.end(found)


def test_text_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(PingOutputFlags())
    captured = capsys.readouterr()
    assert captured.out.startswith("ping localhost:8888 (127.0.0.1:8888)")
    assert captured.err == ""


def test_json_on_standard_output_sends_the_text_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(PingOutputFlags(json=True))
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"]["targets"][0]["sent"] == 10
    assert captured.err.startswith("ping localhost:8888 (127.0.0.1:8888)")


def test_a_stream_on_standard_output_leaves_the_summary_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(PingOutputFlags(json_stream=True))
    captured = capsys.readouterr()
    events = [json.loads(line)["event"] for line in captured.out.splitlines()]
    assert (events[0], events[-1]) == ("start", "end")
    assert captured.err.lstrip().startswith("--- localhost:8888 ---")


def test_json_in_a_file_leaves_the_text_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ping.json.gz"
    write_sample(PingOutputFlags(output=str(path)))
    assert json.loads(gzip.decompress(path.read_bytes()))["summary"]["targets"][0]["sent"] == 10
    assert "seq=0" in capsys.readouterr().out


def test_a_stream_goes_into_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ping.jsonl"
    write_sample(PingOutputFlags(output=str(path), json_stream=True))
    assert len(path.read_text().splitlines()) == len(EVENTS) + 3
    assert "seq=0" in capsys.readouterr().out


def test_a_histogram_goes_into_its_own_file(tmp_path: Path) -> None:
    pytest.importorskip("hdrh", reason="needs hdrhistogram, which is not built for every system")
    path = tmp_path / "rtt.hlog"
    write_sample(PingOutputFlags(hdr=str(path), quiet=True))
    assert path.read_text().startswith("#[Logged with halloo ping")


def test_without_hdrhistogram_the_error_names_the_install_command(tmp_path: Path) -> None:
    program = "import sys; sys.modules['hdrh'] = None; from halloo._cli.main import main; main(sys.argv[1:])"
    done = run(PYTHON, "-c", program, "ping", "--hdr", tmp_path / "rtt.hlog", "localhost")
    message = b"halloo: --hdr needs hdrhistogram; pip install hdrhistogram\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", message)


def test_a_pipe_gets_no_panel(capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(PingOutputFlags(live=True))
    assert "seq=0" in capsys.readouterr().out


def test_a_terminal_gets_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    write_sample(PingOutputFlags(live=True))
    assert "halloo ping" in screen.getvalue()
    assert "bytes from" not in screen.getvalue()


def test_a_multi_sink_passes_events_on_in_order() -> None:
    calls: list[tuple[str, str]] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
            assert snapshot() is report
            calls.append((self.name, "begin"))

        def probe(self, event: ProbeEvent) -> None:
            calls.append((self.name, event.outcome))

        def interim(self, report: PingReport) -> None:
            calls.append((self.name, f"interim of {report.duration_ns}"))

        def end(self, report: PingReport) -> None:
            calls.append((self.name, f"end of {report.duration_ns}"))

    found = report(GOOD)
    both = MultiSink([Recorder("one"), Recorder("two")])
    both.begin(found, lambda: found)
    both.probe(EVENTS[0])
    both.interim(found)
    both.end(found)
    expected = ["begin", "reply", "interim of 9010000000", "end of 9010000000"]
    assert calls == [(name, word) for word in expected for name in ("one", "two")]


class FullSink:
    """A sink that writes nothing, and meets a full disk at the end."""

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
        """Write nothing."""

    def probe(self, event: ProbeEvent) -> None:
        """Write nothing."""

    def interim(self, report: PingReport) -> None:
        """Write nothing."""

    def end(self, report: PingReport) -> None:  # noqa: ARG002 - Sink's signature
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_the_end_does_not_affect_other_sinks() -> None:
    writes: list[str] = []
    with pytest.raises(OSError, match="No space"):
        MultiSink([FullSink(), ReportSink(writes.append, ping_json), FullSink()]).end(report(GOOD))
    assert json.loads("".join(writes))["summary"]["targets"]


# The whole command


@pytest.fixture
def echo() -> Iterator[str]:
    with Server("127.0.0.1:0") as server:
        yield str(server.address)


def run_ping(*arguments: str) -> tuple[int, str, str]:
    done = halloo("ping", *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_an_echo_gives_lines_and_a_summary(echo: str) -> None:
    code, out, err = run_ping(echo, "-c", "3", "-i", "0")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()[1:4]] == ["128 bytes from 127.0.0.1"] * 3
    assert "3 sent, 3 received, 0 % lost" in out


def test_a_missed_goal_exits_with_3(echo: str) -> None:
    code, out, _ = run_ping(echo, "-c", "3", "-i", "0", "-q", "--fail-if", "max>1ns", "--fail-if", "loss>0%")
    assert code == 3
    assert [line for line in out.splitlines() if line.startswith("missed ")] == [
        line for line in out.splitlines() if "(fail if max>1ns)" in line
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_does_not_affect_other_outputs(echo: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    code, out, err = run_ping(echo, "-c", "3", "-i", "0", "-q", "-o", "/dev/full")
    assert (code, err.count("\n")) == (2, 1)
    assert "3 sent, 3 received" in out
    command = f"{shlex.join([*HALLOO, 'ping', echo, '-c', '3', '-i', '0', '-o', str(file)])} > /dev/full"
    done = run("sh", "-c", command)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert json.loads(file.read_text(encoding="utf-8"))["summary"]["targets"]


def test_supplied_options_are_listed_apart_from_defaults(echo: str) -> None:
    usual = {"addresses", "deadline_ns", "interval_ns"}
    for arguments, names in (([], usual), (["-c", "10"], {*usual, "count"})):
        done = json.loads(run_ping(echo, "-w", "50ms", "-i", "0", *arguments, "--json", "-q")[1])
        assert done["config"]["supplied"].keys() == names


def test_a_closed_port_exits_with_1() -> None:
    code, out, _ = run_ping(f"127.0.0.1:{unused_port()}", "-c", "1")
    assert code == 1
    assert "(connection refused); start a server there with: halloo serve " in out


def test_the_errors_of_a_run_name_flags() -> None:
    port = unused_port()
    out = " ".join(run_ping(f"127.0.0.1:{port}", "-c", "1", "--bind", "::1")[1].split())
    assert out.count("no IPv4 address can be reached from ::1; name another source with --bind, or leave it out") == 2
    options = ("-c", "1", "--bind", "::1", "--json-stream", "-o", "-")
    *_, end = run_ping(f"127.0.0.1:{port}", *options)[1].splitlines()
    assert "with --bind" in json.loads(end)["data"]["summary"]["targets"][0]["failure"]


def test_json_is_complete(echo: str) -> None:
    code, out, err = run_ping(echo, "-c", "3", "-i", "0", "--json", "-q")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["summary"]["targets"][0]["received"]) == (0, 3)
    assert "3 sent, 3 received" in err


def test_a_live_ping_shows_a_panel_and_a_summary(echo: str) -> None:
    with Terminal(*HALLOO, "ping", echo, "-c", "5", "-i", "10ms", "--live") as terminal:
        shown = terminal.read_to_end()
        assert terminal.wait() == 0
    assert b"halloo ping" in shown
    assert b"5 sent, 5 received" in shown


STREAMS = (
    "127.0.0.1:0",
    "tls://127.0.0.1:0",
    "unix:the socket of a server whose name is longer than what a table has room for",
)


@pytest.mark.parametrize(
    ("addresses", "options"),
    [(STREAMS, ("--reconnect", "-D", "--insecure")), (("udp://127.0.0.1:0",), ("--flows", "3", "-D", "--unit", "ns"))],
    ids=["streams", "flows"],
)
def test_no_line_is_longer_than_a_terminal_is_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)  # a path to it may be too long for a Unix socket
    with Server(*addresses, timestamps=True) as server:
        targets = map(str, server.addresses)
        with Terminal(*HALLOO, "ping", *targets, "-c", "2", "-i", "10ms", *options) as terminal:
            lines = terminal.read_to_end().decode().splitlines()
            assert terminal.wait() == 0
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("one way") for line in lines)
