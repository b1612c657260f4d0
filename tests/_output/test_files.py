"""Where results go."""

import gzip
import json
from pathlib import Path

import pytest

from halloo._output.files import opened, read_from, see_writable
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


def test_a_place_is_seen_to_be_writable_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    see_writable(str(tmp_path / "report.json"))
    see_writable("-")
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == "{}"
    with pytest.raises(LocalError, match=r"cannot be written: no such file or directory; name another file"):
        see_writable(str(tmp_path / "nowhere" / "report.json"))


@pytest.mark.parametrize("name", ["reports.json", "reports.json.gz"])
def test_what_is_added_follows_what_was_there_and_all_is_read(name: str, tmp_path: Path) -> None:
    place = str(tmp_path / name)
    for line in ("one\n", "two\n"):
        with opened(place, more=True) as file:
            file.write(line)
    assert read_from(place) == "one\ntwo\n"
    with opened(place) as file:
        file.write("anew\n")
    assert read_from(place) == "anew\n"


def test_of_a_packed_file_that_was_cut_off_what_is_whole_is_read(tmp_path: Path) -> None:
    place = tmp_path / "reports.json.gz"
    for line in ("one\n", "two\n"):
        with opened(str(place), more=True) as file:
            file.write(line)
    place.write_bytes(place.read_bytes()[:-12])
    assert read_from(str(place)).startswith("one\n")


def test_where_nobody_wrote_there_is_nothing(tmp_path: Path) -> None:
    assert read_from(str(tmp_path / "reports.json")) == ""


@pytest.mark.parametrize(
    "packed", [b"no such thing", gzip.compress(b"one")[:10] + b"\xff" * 12], ids=["not packed", "broken"]
)
def test_what_cannot_be_read_is_a_line_with_the_next_step(packed: bytes, tmp_path: Path) -> None:
    place = tmp_path / "reports.json.gz"
    place.write_bytes(packed)
    with pytest.raises(LocalError, match=r"cannot be read: .*; name another file"):
        read_from(str(place))


def test_half_a_character_at_the_end_does_no_harm(tmp_path: Path) -> None:
    place = tmp_path / "reports.json"
    place.write_bytes("one\né".encode()[:-1])
    assert read_from(str(place)).startswith("one\n")
