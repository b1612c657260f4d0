"""Where results go."""

import gzip
import json
from pathlib import Path

import pytest

from halloo.cli.outputs import opened
from halloo.errors import LocalError


def test_a_file_is_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with opened(str(path)) as file:
        file.write("é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"


def test_a_name_that_ends_in_gz_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "report.json.gz"
    with opened(str(path)) as file:
        file.write('{"a": 1}\n')
    assert json.loads(gzip.decompress(path.read_bytes())) == {"a": 1}


@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_what_is_flushed_can_be_read_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with opened(str(path)) as file:
        file.write("line\n")
        file.flush()
        assert path.stat().st_size > 0


def test_a_hyphen_is_standard_output_which_stays_open(capsys: pytest.CaptureFixture[str]) -> None:
    with opened("-") as file:
        file.write("here\n")
    print("and there")  # noqa: T201 - that it still can is the fact
    assert capsys.readouterr().out == "here\nand there\n"


@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_what_cannot_be_written_is_a_line_with_the_next_step(name: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / name
    with pytest.raises(LocalError) as met, opened(str(path)):
        pass
    assert str(met.value) == f"{path} cannot be written: no such file or directory; name another file"
