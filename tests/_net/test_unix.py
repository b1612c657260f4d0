"""A Unix socket's file: taken over when nobody answers there, left alone when somebody does, and gone at the end."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import halloo
from halloo._net.listener import listen
from halloo._net.unix import MAX_PATH, identity, remove
from halloo.errors import AddressInUse, LocalError

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory() as folder:  # pytest's own may be too long
        yield Path(folder) / "halloo"


def left_behind(path: Path) -> None:
    """Leave a socket's file as a server that was killed does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"hello")
        return client.recv(5) == b"hello"


def test_its_clients_are_served(path: Path) -> None:
    with halloo.Server(f"unix:{path}") as server:
        assert str(server.address) == f"unix:{path}"
        assert answers(path)


def test_the_file_is_gone_at_the_end(path: Path) -> None:
    with listen(f"unix:{path}"):
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


def test_one_that_was_left_behind_is_taken_over(path: Path) -> None:
    left_behind(path)
    with halloo.Server(f"unix:{path}"):
        assert answers(path)


def test_one_that_is_in_use_is_not(path: Path) -> None:
    with halloo.Server(f"unix:{path}"):
        with pytest.raises(AddressInUse, match="a server answers there"):
            listen(f"unix:{path}")
        assert answers(path)


def test_one_in_use_by_a_server_that_takes_nobody_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen(0)
        client.connect(str(path))  # the queue is full
        with pytest.raises(AddressInUse):
            listen(f"unix:{path}")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(AddressInUse, match="exists and is not a socket"):
        listen(f"unix:{path}")
    assert path.is_symlink() or path.exists()


def test_a_file_that_has_taken_its_place_is_not_removed(path: Path) -> None:
    with listen(f"unix:{path}"):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


def test_a_file_that_is_gone_already_is_no_error(path: Path) -> None:
    with listen(f"unix:{path}"):
        path.unlink()


def test_releasing_leaves_the_file_to_the_others(path: Path) -> None:
    with listen(f"unix:{path}") as listener:
        listener.release()
        assert path.exists()


def test_the_longest_path_can_be_used_and_one_more_cannot(path: Path) -> None:
    room = MAX_PATH - len(os.fsencode(path))
    with listen(f"unix:{path}{'x' * room}"):
        pass
    with pytest.raises(LocalError, match=f"is longer than {MAX_PATH} bytes"):
        listen(f"unix:{path}{'x' * (room + 1)}")


def test_a_folder_that_does_not_exist_is_told(path: Path) -> None:
    with pytest.raises(LocalError, match="no such file or directory"):
        listen(f"unix:{path}/halloo")


def test_a_file_is_known_again_by_its_identity(path: Path) -> None:
    assert identity(str(path)) is None
    path.write_text("one")
    made = identity(str(path))
    assert made is not None
    remove(str(path), made)
    assert not path.exists()
