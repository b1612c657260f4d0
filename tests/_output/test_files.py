"""Reading and writing result files."""

import gzip
import json
from pathlib import Path

import pytest

from halloo._output.files import check_writable, open_text, read_text
from halloo.errors import LocalError


def test_a_file_is_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with open_text(str(path)) as file:
        file.write("é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"


def test_a_name_that_ends_in_gz_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "report.json.gz"
    with open_text(str(path)) as file:
        file.write('{"a": 1}\n')
    assert json.loads(gzip.decompress(path.read_bytes())) == {"a": 1}


@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_flushed_text_can_be_read_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with open_text(str(path)) as file:
        file.write("line\n")
        file.flush()
        assert path.stat().st_size > 0


def test_a_hyphen_is_standard_output_which_stays_open(capsys: pytest.CaptureFixture[str]) -> None:
    with open_text("-") as file:
        file.write("here\n")
    print("and there")  # noqa: T201 - that it still can is the fact
    assert capsys.readouterr().out == "here\nand there\n"


@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_a_file_that_cannot_be_written_is_an_error_with_a_remedy(name: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / name
    with pytest.raises(LocalError) as met, open_text(str(path)):
        pass
    assert str(met.value) == f"{path} cannot be written: no such file or directory; name another file"


def test_check_writable_keeps_the_content(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    check_writable(str(tmp_path / "report.json"))
    check_writable("-")
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == "{}"
    with pytest.raises(LocalError, match=r"cannot be written: no such file or directory; name another file"):
        check_writable(str(tmp_path / "nowhere" / "report.json"))


@pytest.mark.parametrize("name", ["reports.json", "reports.json.gz"])
def test_appended_text_follows_the_present_content(name: str, tmp_path: Path) -> None:
    place = str(tmp_path / name)
    for line in ("one\n", "two\n"):
        with open_text(place, append=True) as file:
            file.write(line)
    assert read_text(place) == "one\ntwo\n"
    with open_text(place) as file:
        file.write("anew\n")
    assert read_text(place) == "anew\n"


def test_a_truncated_compressed_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    place = tmp_path / "reports.json.gz"
    for line in ("one\n", "two\n"):
        with open_text(str(place), append=True) as file:
            file.write(line)
    place.write_bytes(place.read_bytes()[:-12])
    assert read_text(str(place)).startswith("one\n")


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_text(str(tmp_path / "reports.json")) == ""


@pytest.mark.parametrize(
    "packed", [b"no such thing", gzip.compress(b"one")[:10] + b"\xff" * 12], ids=["not packed", "broken"]
)
def test_a_file_that_cannot_be_read_is_an_error_with_a_remedy(packed: bytes, tmp_path: Path) -> None:
    place = tmp_path / "reports.json.gz"
    place.write_bytes(packed)
    with pytest.raises(LocalError, match=r"cannot be read: .*; name another file"):
        read_text(str(place))


def test_half_a_character_at_the_end_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "reports.json"
    place.write_bytes("one\né".encode()[:-1])
    assert read_text(str(place)).startswith("one\n")
