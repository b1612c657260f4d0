"""A Unix socket's file: replaced when stale, left alone when a server uses it, and removed at the end."""

import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import halloo
from halloo._net.listener import listen
from halloo._net.unix import MAX_PATH, identity, name_text
from halloo.errors import AddressInUse, LocalError, Refused, UsageError

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory() as folder:  # the path of pytest's tmp_path may be too long
        yield Path(folder) / "halloo"


def leave_stale_socket(path: Path) -> None:
    """Leave a socket file behind, as a killed server does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"hello")
        return client.recv(5) == b"hello"


def test_a_stale_socket_file_is_replaced_and_one_in_use_is_not(path: Path) -> None:
    leave_stale_socket(path)
    with halloo.Server(f"unix:{path}") as server:
        assert str(server.address) == f"unix:{path}"
        assert answers(path)
        with pytest.raises(AddressInUse, match="a server answers there"):
            listen(f"unix:{path}")
        assert answers(path)
    assert not path.exists()


def test_a_socket_file_of_a_server_with_a_full_backlog_is_not_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen(0)
        client.connect(str(path))  # the queue is full
        with pytest.raises(AddressInUse):
            listen(f"unix:{path}")


def test_a_stale_file_that_another_server_replaces_at_the_same_time_is_left_alone(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    leave_stale_socket(path)
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as another server does
    with pytest.raises(AddressInUse, match="another server begins to listen there at the same time"):
        listen(f"unix:{path}")
    assert path.exists()
    os.close(folder)
    with listen(f"unix:{path}"):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/unix")
@pytest.mark.parametrize("spelling", ["absolute", "relative", "link"])
def test_a_socket_between_bind_and_listen_is_not_replaced(path: Path, spelling: str) -> None:
    bound, wanted = str(path), str(path)
    with socket.socket(socket.AF_UNIX) as sock, chdir(path.parent):
        if spelling == "relative":
            bound = wanted = path.name
        elif spelling == "link":
            Path("folder").symlink_to(path.parent)
            wanted = f"{path.parent}/folder/{path.name}"
        sock.bind(bound)
        before = identity(wanted)
        with pytest.raises(AddressInUse, match="a program is about to listen there"):
            listen(f"unix:{wanted}")
        assert identity(wanted) == before
        sock.listen()  # as if nothing had happened
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems restrict paths in other ways")
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_file_has_the_mode_whatever_the_umask(path: Path, umask: int) -> None:
    modes: list[tuple[dict[str, Any], int]] = [({}, 0o600), ({"mode": 0o660}, 0o660), ({"mode": 0o777}, 0o777)]
    before = os.umask(umask)
    try:
        for options, mode in modes:
            with listen(f"unix:{path}", **options):
                assert stat.S_ISSOCK(path.stat().st_mode)
                assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_mode_needs_a_unix_socket() -> None:
    with pytest.raises(UsageError, match="mode is for unix:, and no address is; leave it out"):
        listen("127.0.0.1:0", mode=0o660)


def test_a_file_that_is_not_a_socket_is_left_alone(path: Path) -> None:
    file, folder, link = (path.with_name(name) for name in ("file", "folder", "link"))
    file.write_text("precious")
    folder.mkdir()
    link.symlink_to("nowhere")
    for each in (file, folder, link):
        with pytest.raises(AddressInUse, match="exists and is not a socket"):
            listen(f"unix:{each}")
        assert each.is_symlink() or each.exists()
    with pytest.raises(Refused, match="is not a socket; check the path"):
        halloo.connect(f"unix:{file}")


def test_close_removes_only_its_own_socket_file(path: Path) -> None:
    with listen(f"unix:{path}"):
        path.unlink()
    with listen(f"unix:{path}"):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"
    path.unlink()
    with listen(f"unix:{path}") as listener:
        listener.release()
        assert path.exists()


def test_a_path_of_the_maximum_length_works_and_one_byte_more_is_refused(path: Path) -> None:
    room = MAX_PATH - len(os.fsencode(path))
    with listen(f"unix:{path}{'x' * room}"):
        pass
    with pytest.raises(LocalError, match=f"is longer than the {MAX_PATH} bytes"):
        listen(f"unix:{path}{'x' * (room + 1)}")


def test_a_missing_folder_is_reported(path: Path) -> None:
    with pytest.raises(LocalError, match="no such file or directory"):
        listen(f"unix:{path}/halloo")


def test_any_name_of_a_socket_is_text() -> None:
    names: dict[str | bytes, str] = {
        "": "",
        "/run/echo": "/run/echo",
        "/run/\udcff": r"/run/\xff",
        b"\0abstract": "@abstract",
        b"\0a\0\xff": "@a\0\\xff",
    }
    assert [name_text(name) for name in names] == [*names.values()]
