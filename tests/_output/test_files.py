"""Writing, appending to and reading result files."""

import gzip
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halloo._output.files import appender, check_writable, read_text, write_file, writer
from halloo.errors import LocalError
from tests.programs import PYTHON, run, started

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs, symbolic links and modes")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full, /dev/fd and unshare(1)")
each_name = pytest.mark.parametrize("name", ["report.json", "report.json.gz"])


def write_checked(path: str, text: str) -> None:
    with writer(path) as write:
        write(text)


each_way = pytest.mark.parametrize("write", [write_file, write_checked])
Write = Callable[[str, str], None]


# Whole files.


@each_way
def test_a_file_is_written_as_text_and_compressed_if_its_name_ends_in_gz(write: Write, tmp_path: Path) -> None:
    plain, packed = tmp_path / "report.html", tmp_path / "report.json.gz"
    for path in (plain, packed):
        write(str(path), "é, a folder: \udcff\n")
    assert plain.read_bytes() == gzip.decompress(packed.read_bytes()) == b"\xc3\xa9, a folder: \\udcff\n"


@each_way
def test_a_hyphen_is_standard_output_which_stays_open(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("-", "here\n")
    print("and there")  # noqa: T201 - that it still can is the fact
    assert capsys.readouterr().out == "here\nand there\n"


@each_name
@pytest.mark.parametrize("opened", [writer, appender])
def test_a_file_that_cannot_be_written_is_an_error_with_a_remedy(
    opened: Callable[[str], object], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / name
    with pytest.raises(LocalError) as met, opened(str(path)):  # type: ignore[attr-defined]  # either is a context
        pass
    assert str(met.value) == f"{path} cannot be written: no such file or directory; name another file"


def test_check_writable_leaves_everything_as_it_is(tmp_path: Path) -> None:
    present, missing = tmp_path / "present.json", tmp_path / "missing.json"
    present.write_text("{}", encoding="utf-8")
    for path in (str(present), str(missing), "-"):
        check_writable(path)
    assert (present.read_text(encoding="utf-8"), os.listdir(tmp_path)) == ("{}", ["present.json"])  # noqa: PTH208 - names
    with pytest.raises(LocalError, match=r"cannot be written: no such file or directory; name another file"):
        check_writable(str(tmp_path / "nowhere" / "report.json"))


@posix
def test_a_file_keeps_its_content_until_it_is_written_and_for_an_open_reader_longer(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("before", encoding="utf-8")
    with writer(str(path)):
        assert path.read_text(encoding="utf-8") == "before"
    with path.open(encoding="utf-8") as reader:
        write_file(str(path), "after")
        assert reader.read() == "before"
    assert path.read_text(encoding="utf-8") == "after"


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond a size; SIGXFSZ, which Python ignores, is then EFBIG (setrlimit(2))."""
    import resource  # noqa: PLC0415 - missing on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
@each_way
def test_after_an_error_the_old_file_is_whole_and_no_other_is_left(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("before", encoding="utf-8")
    with (
        pytest.raises(LocalError, match=f"^{path} cannot be written: file too large; name another file$"),
        disk_of(100),
    ):
        write(str(path), "x" * 1000)
    assert (path.read_text(encoding="utf-8"), os.listdir(tmp_path)) == ("before", ["report.json"])  # noqa: PTH208 - as above


# unshare(1), mount(8): $0 is a folder on a disk of its own, of 64 KiB; "$@" is the program, which gets a file on it.
SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && "$@" "$0/x.json"')
FILL = (
    "import sys; from halloo._output.files import write_file; path = sys.argv[1]\n"
    "write_file(path, 'before')\n"
    "try: write_file(path, 'x' * 100_000)\n"
    "except OSError as error: print(error)\n"
    "print(open(path).read())\n"
)


@linux
def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    done = run(*SMALL_DISK, tmp_path, PYTHON, "-c", FILL)
    if done.returncode:
        pytest.skip(f"needs a mount namespace: {done.stderr.decode().strip()}")
    assert done.stdout.decode().splitlines() == [
        f"{tmp_path}/x.json cannot be written: no space left on device; make room on its disk, or name another file",
        "before",
    ]


@posix
def test_a_replaced_file_keeps_its_link_and_mode_and_a_new_one_has_that_of_the_umask(tmp_path: Path) -> None:
    folder, link = tmp_path / "reports", tmp_path / "latest.json"
    folder.mkdir()
    link.symlink_to("reports/today.json")
    before = os.umask(0o026)
    try:
        for text, mode in (("one", 0o640), ("two", 0o604)):  # at first there is no such file
            check_writable(str(link))
            write_file(str(link), text)
            assert stat.S_IMODE((folder / "today.json").stat().st_mode) == mode
            (folder / "today.json").chmod(0o604)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert (folder / "today.json").read_text(encoding="utf-8") == "two"


# unshare(1), mount(8): $0 is mounted over $1, as docker does with one file; the rest is the program, which gets $1.
MOUNTED = ("unshare", "-rm", "sh", "-c", 'place=$1; shift; mount --bind "$0" "$place" && "$@" "$place"')
WRITE = "import sys; from halloo._output.files import write_file; write_file(sys.argv[1], 'new')"


@linux
def test_a_file_that_cannot_be_replaced_is_written_in_place(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.json", tmp_path / "inside.json"
    for path in (outside, inside):
        path.write_text("longer than new", encoding="utf-8")
    done = run(*MOUNTED, outside, inside, PYTHON, "-c", WRITE)
    if b"unshare" in done.stderr or b"mount" in done.stderr:
        pytest.skip(f"needs a mount namespace: {done.stderr.decode().strip()}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert outside.read_text(encoding="utf-8") == "new"


# Devices, FIFOs and the like.


@posix
def test_a_fifo_is_written_directly_as_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    check_writable(str(path))  # a reader that waits already must not see an end
    with started("cat", path) as reader:
        with appender(str(path)) as write:
            write("one\n")
            write("two\n")
        assert reader.stdout
        assert reader.stdout.read() == b"one\ntwo\n"
    assert stat.S_ISFIFO(path.stat().st_mode)


@posix
@pytest.mark.parametrize("opened", [writer, appender])
def test_a_reader_of_a_fifo_that_leaves_is_not_an_error_of_the_file(
    opened: Callable[[str], object], tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with opened(str(path)) as write:  # type: ignore[attr-defined]  # either is a context
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            write("one\n")


@linux
def test_devices_and_open_files_are_written_directly(tmp_path: Path) -> None:
    message = r"^/dev/full cannot be written: no space left on device; make room on its disk"
    with pytest.raises(LocalError, match=message):
        write_file("/dev/full", "text")
    path = tmp_path / "output"
    with path.open("w", encoding="utf-8") as output:
        output.write("one\n")
        output.flush()
        write_file(f"/dev/fd/{output.fileno()}", "two\n")
        assert output.fileno() >= 0
    assert path.read_text(encoding="utf-8") == "one\ntwo\n"


# Streams.


@each_name
def test_appended_text_follows_the_present_content_and_can_be_read_at_once(name: str, tmp_path: Path) -> None:
    place = str(tmp_path / name)
    assert read_text(place) == ""
    for line, content in (("one\n", "one\n"), ("two\n", "one\ntwo\n")):
        with appender(place) as write:
            write(line)
            assert read_text(place) == content
    write_file(place, "anew\n")
    assert read_text(place) == "anew\n"


@posix
@each_name
def test_a_renamed_stream_goes_on_in_a_new_file(name: str, tmp_path: Path) -> None:
    path, renamed = tmp_path / name, tmp_path / f"1.{name}"
    with appender(str(path)) as write:
        write("one\n")
        path.rename(renamed)
        write("two\n")
        path.unlink()
        path.touch()  # as logrotate's `create` does
        write("three\n")
    assert (read_text(str(renamed)), read_text(str(path))) == ("one\n", "three\n")


@posix
def test_a_stream_whose_new_file_cannot_be_opened_goes_on_in_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with appender(str(folder / "x.json")) as write:
        write("one\n")
        folder.rename(tmp_path / "moved")
        write("two\n")
    assert (tmp_path / "moved" / "x.json").read_text(encoding="utf-8") == "one\ntwo\n"


@posix
def test_a_stream_that_was_truncated_begins_at_the_start_and_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with appender(str(path)) as write:
        write("one\n")
        os.truncate(path, 0)  # as logrotate's `copytruncate` does
        write("two\n")
        assert path.read_bytes() == b"two\n"
        with disk_of(4), pytest.raises(LocalError, match=f"^{path} cannot be written: file too large"):
            write("three\n")


# Reading.


def test_a_truncated_compressed_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    place = tmp_path / "reports.json.gz"
    for line in ("one\n", "two\n"):
        with appender(str(place)) as write:
            write(line)
    place.write_bytes(place.read_bytes()[:-12])
    assert read_text(str(place)).startswith("one\n")


def test_a_file_that_cannot_be_read_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    place, plain = tmp_path / "reports.json.gz", tmp_path / "reports.json"
    for packed in (b"no such thing", gzip.compress(b"one")[:10] + b"\xff" * 12):
        place.write_bytes(packed)
        with pytest.raises(LocalError, match=r"cannot be read: .*; name another file"):
            read_text(str(place))
    plain.write_bytes("one\né".encode()[:-1])  # half a character is none
    assert read_text(str(plain)).startswith("one\n")
