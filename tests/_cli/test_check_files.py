"""The files of a check: each is written as a whole, and a mistake in one is told before anything is run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halloo._cli.check import run_one as run
from halloo._cli.check_files import Outputs
from halloo.errors import LocalError, UsageError
from tests._check.test_run import ECHO, FIRST, rows


def test_a_report_is_written_to_every_requested_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("json", "junit", "html", "markdown", "gradescope", "csv")
    paths: dict[str, Any] = {name: str(tmp_path / name) for name in names}
    run(ECHO, FIRST, replace(Outputs(), **paths))
    assert all("T01" in (tmp_path / name).read_text() for name in names if name != "csv")
    assert rows(tmp_path / "csv")[0]["passed"] == "1"
    assert "PASS tcp/T01 short" in capsys.readouterr().out


def test_standard_output_contains_only_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    run(ECHO, FIRST, Outputs(json="-"))
    output = capsys.readouterr()
    assert json.loads(output.out)["schema"] == "halloo.check/1"
    assert "PASS tcp/T01 short" in output.err


def test_a_mistake_in_a_file_is_reported_before_any_case_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LocalError, match="cannot be written: no such file or directory; name another file"):
        run(ECHO, FIRST, Outputs(html=str(tmp_path / "missing" / "page.html")))
    (tmp_path / "weights.toml").write_text("[weights]\nT99 = 3\n")
    with pytest.raises(UsageError, match="T99"):
        run(ECHO, FIRST, Outputs(grade=str(tmp_path / "weights.toml")))
    (tmp_path / "binary").write_bytes(b"\xff")
    for name, reason in {"": "is a directory", "none": "no such file", "binary": "not text"}.items():
        with pytest.raises(LocalError, match=f"{name}: {reason}.*; name a TOML file of weights$"):
            run(ECHO, FIRST, Outputs(grade=str(tmp_path / name)))
    if Path("/dev/zero").exists():  # it is endless
        with pytest.raises(UsageError):
            run(ECHO, FIRST, Outputs(grade="/dev/zero"))
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_the_weights_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("points = 7\n")
    outputs = Outputs(grade=str(tmp_path / "weights"), csv=str(tmp_path / "csv"))
    outputs.validate()
    (tmp_path / "weights").unlink()  # as a pipe is empty afterwards
    outputs.write([FIRST.check(ECHO)])
    assert rows(tmp_path / "csv")[0]["points"] == "7"
