"""What is checked and how it is told; the cases themselves are tested with the mutants, in tests/check."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halloo._check.run import Choice, Outputs, check, client_subject, run, run_each, server_subject
from halloo._core.address import parse
from halloo._server.serve import serving
from halloo.errors import LocalError, UsageError
from tests.programs import PYTHON

RIGHT = (PYTHON, "-m", "tests._check.reference", "PORT")
MUTE = (PYTHON, "-c", "import sys; sys.exit('no server today')")
FIRST = Choice(only=("T01",))


def rows(place: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(place.read_text()))]


# Who is checked.


@pytest.mark.parametrize("command", [(), RIGHT])
def test_one_server_is_named(command: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="name one server to check; an address, or its command"):
        server_subject(parse("localhost") if command else None, command)


def test_somebody_elses_host_is_not_checked_by_mistake() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1|8\.8\.8\.8 is neither .* --allow-remote 8\.8\.8\.8"):
        server_subject(parse("8.8.8.8"), ())
    assert server_subject(parse("8.8.8.8"), (), allowed=["8.8.8.8"]).address == parse("8.8.8.8")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "10.1.2.3", "[fe80::1]", "unix:/tmp/echo"])
def test_what_is_near_may_be_checked(host: str) -> None:
    assert server_subject(parse(host), ()).address == parse(host)


def test_the_scheme_of_an_address_is_the_one_that_is_checked() -> None:
    assert server_subject(parse("udp://localhost"), ()).scheme == "udp"


def test_a_client_has_to_be_told_the_port() -> None:
    with pytest.raises(UsageError, match="does not say where the port belongs; write PORT there, or --port 8888"):
        client_subject(("client", "HOST"))
    assert client_subject(("client", "HOST"), port=8888).port == 8888


# What is told.


def test_a_right_server_passes() -> None:
    report = check(server_subject(None, RIGHT), FIRST)
    assert ([result.verdict for result in report.results], report.exit_code) == (["PASS"], 0)


def test_a_server_at_an_address_is_asked_what_needs_no_process() -> None:
    with serving() as server:
        report = check(server_subject(server.address, ()), Choice(only=("T01", "T21")))
    assert [result.verdict for result in report.results] == ["PASS", "SKIP"]


def test_a_program_that_does_not_listen_is_the_trouble_and_not_each_case() -> None:
    report = check(server_subject(None, MUTE), Choice(only=("T01", "T03")))
    assert [result.verdict for result in report.results] == ["FAIL", "BLOCKED"]
    assert "no server today" in report.trouble
    assert report.exit_code == 1


def test_each_result_says_how_to_repeat_it() -> None:
    (result,) = check(server_subject(None, MUTE), Choice(only=("T01",), seed=7)).results
    assert result.repeat == f"halloo check server --only T01 --seed 7 -- {' '.join(MUTE)}"


def test_a_report_is_written_to_every_file_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("json", "junit", "html", "markdown", "gradescope", "csv")
    places: dict[str, Any] = {name: str(tmp_path / name) for name in names}
    run(server_subject(None, RIGHT), FIRST, replace(Outputs(), **places))
    assert all("T01" in (tmp_path / name).read_text() for name in names if name != "csv")
    assert rows(tmp_path / "csv")[0]["passed"] == "1"
    assert "PASS tcp/T01 short" in capsys.readouterr().out


def test_standard_output_holds_a_report_alone(capsys: pytest.CaptureFixture[str]) -> None:
    run(server_subject(None, RIGHT), FIRST, Outputs(json="-"))
    told = capsys.readouterr()
    assert json.loads(told.out)["schema"] == "halloo.check/1"
    assert "PASS tcp/T01 short" in told.err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LocalError, match="cannot be written: no such file or directory; name another file"):
        run(server_subject(None, RIGHT), FIRST, Outputs(html=str(tmp_path / "missing" / "page.html")))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_mistake_in_the_weights_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "weights.toml").write_text("[weights]\nT99 = 3\n")
    with pytest.raises(UsageError, match="T99"):
        run(server_subject(None, RIGHT), FIRST, Outputs(grade=str(tmp_path / "weights.toml")))


# A class.


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    for name, program in (
        ("anna", "import runpy; runpy.run_module('tests._check.reference', run_name='__main__')"),
        ("bob", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.py").write_text(program)
    return tmp_path


COMMAND = (PYTHON, "{dir}/server.py", "PORT")


def test_a_class_has_a_row_for_each(submissions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = submissions / "marks.csv"
    subject = server_subject(None, (PYTHON, "-c", "exec(open('DIR/server.py').read())", "PORT"))
    reports = run_each(f"{submissions}/*", subject, FIRST, Outputs(csv=str(marks)))
    assert [report.exit_code for report in reports] == [0, 1]
    assert [row["points"] for row in rows(marks)] == ["100", "0"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_class_is_gone_on_with(submissions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = Outputs(json=str(submissions / "class.json"))
    subject = server_subject(None, (PYTHON, "-c", "exec(open('DIR/server.py').read())", "PORT"))
    run_each(f"{submissions}/anna", subject, FIRST, outputs)
    reports = run_each(f"{submissions}/*", subject, FIRST, outputs, resume=True)
    assert [Path(report.target).name for report in reports] == ["anna", "bob"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_class_of_nobody_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder matches"):
        run_each(f"{tmp_path}/*", server_subject(None, COMMAND), FIRST, Outputs())
