"""Several processes at one port, as somebody runs them: `halloo serve --workers 2`, and what kills them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

import psutil
import pytest

from halloo.net.workers import TRIES
from tests.programs import PYTHON, run, started
from tests.stepping import pattern, reset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "win32", reason="needs fork")

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
SERVE = (PYTHON, "-m", "halloo", "serve")


class Fleet:
    """A parent process and its port."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self.process = process
        self.port = int(process.stdout.readline().rpartition(b":")[2])
        self._cleanup = ExitStack()

    def dial(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        return self._cleanup.enter_context(client)

    def close(self) -> None:
        self._cleanup.close()

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def held(self) -> dict[int, list[socket.socket]]:
        """Connect until each worker has a client that was served; give each worker's own."""
        found: dict[int, list[socket.socket]] = {pid: [] for pid in self.workers()}
        for _ in range(1000):
            client = self.dial()
            assert_served(client)
            found[self.worker_of(client)].append(client)
            if all(found.values()):
                return found
        raise AssertionError(f"not everybody serves: {found}")

    def worker_of(self, client: socket.socket) -> int:
        """Say which worker has a client's connection."""
        port = client.getsockname()[1]
        for pid in self.workers():
            with suppress(psutil.NoSuchProcess):
                for connection in psutil.Process(pid).net_connections("tcp4"):
                    if connection.raddr[1:] == (port,):
                        return pid
        raise AssertionError("nobody has it")

    def stop(self) -> tuple[int, str]:
        """End it with SIGTERM; give the exit code and what it said."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode()


@contextmanager
def fleet(*options: str) -> Iterator[Fleet]:
    with started(*SERVE, "127.0.0.1:0", "--workers", "2", *options) as process:
        running = Fleet(process)
        try:
            yield running
        finally:
            running.close()


def assert_served(client: socket.socket, message: bytes = b"hello") -> None:
    client.sendall(message)
    assert received(client, len(message)) == message


def received(client: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := client.recv(size - len(pieces))):
        pieces += piece
    return bytes(pieces)


def to_the_end(client: socket.socket) -> bytes:
    pieces = bytearray()
    while piece := client.recv(1 << 20):
        pieces += piece
    return bytes(pieces)


def assert_settles(condition: Callable[[], bool]) -> None:
    """Ask again and again, a moment apart, until it is so."""
    moment = threading.Event()
    for _ in range(500):
        if condition():
            return
        moment.wait(0.02)
    raise AssertionError("it never was")


# Serving.


def test_both_serve() -> None:
    with fleet() as running:
        assert len(running.workers()) == 2
        running.held()


def test_with_a_port_of_each_worker_s_own_both_serve() -> None:
    with fleet("--reuse-port") as running:
        running.held()


def test_a_second_copy_is_told_that_the_port_is_taken() -> None:
    with fleet() as running:
        second = run(*SERVE, f"127.0.0.1:{running.port}", "--workers", "2")
        assert second.returncode == 2
        assert f"port {running.port} on 127.0.0.1 is taken".encode() in second.stderr


def test_a_second_copy_with_ports_of_its_workers_own_is_told_so_too() -> None:
    with fleet("--reuse-port") as running:
        second = run(*SERVE, f"127.0.0.1:{running.port}", "--workers", "2", "--reuse-port")
        assert second.returncode == 2
        assert b"is taken" in second.stderr


def test_at_the_end_what_all_of_them_did_is_added_up() -> None:
    with fleet() as running:
        for clients in running.held().values():
            for client in clients:
                client.close()
        everybody = 0
        for _ in range(20):
            with running.dial() as client:
                client.sendall(pattern(1000))
                client.shutdown(socket.SHUT_WR)
                assert to_the_end(client) == pattern(1000)
                everybody += 1
        code, errors = running.stop()
        assert code == 0
        [(clients_seen, came, went)] = re.findall(
            r"halloo: (\d+) clients in .*, (\d+) bytes in, (\d+) bytes out", errors
        )
        assert int(clients_seen) >= everybody + 2
        assert int(came) == int(went) == 1000 * everybody + 5 * (int(clients_seen) - everybody)


# Killing.


def test_a_killed_worker_costs_its_own_clients_alone_and_is_replaced() -> None:
    with fleet() as running:
        victim, survivor = running.held().items()
        os.kill(victim[0], signal.SIGKILL)
        for client in victim[1]:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        for client in survivor[1]:
            assert_served(client)
        assert_settles(lambda: len(running.workers() - {victim[0]}) == 2)
        running.held()


def test_a_hung_worker_keeps_nobody_waiting() -> None:
    with fleet() as running:
        hung = next(iter(running.held()))
        os.kill(hung, signal.SIGSTOP)
        try:
            for _ in range(20):
                assert_served(running.dial())
        finally:
            os.kill(hung, signal.SIGCONT)


def test_what_a_killed_worker_did_is_not_forgotten() -> None:
    with fleet() as running:
        held = running.held()
        total = sum(map(len, held.values()))
        for client in chain(*held.values()):
            client.close()
        victim = next(iter(held))
        os.kill(victim, signal.SIGKILL)
        assert_settles(lambda: len(running.workers() - {victim}) == 2)
        _, errors = running.stop()
        assert f"halloo: {total} clients in" in errors
        assert f"{5 * total} bytes in, {5 * total} bytes out" in errors


def test_a_killed_parent_takes_its_workers_along_and_the_port_is_free_at_once() -> None:
    with fleet() as running:
        workers = running.workers()
        running.held()
        running.process.kill()
        running.process.wait(PATIENCE)
        assert_settles(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in workers))
        with started(*SERVE, f"127.0.0.1:{running.port}", "--workers", "2") as again:
            assert again.stdout
            assert again.stdout.readline() == f"listening on tcp://127.0.0.1:{running.port}\n".encode()


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def test_workers_that_die_at_once_again_and_again_make_the_parent_give_up() -> None:
    with fleet() as running:
        moment = threading.Event()
        while running.process.poll() is None:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                for pid in running.workers():
                    os.kill(pid, signal.SIGKILL)
            moment.wait(0.02)
        _, errors = running.process.communicate()
        assert running.process.returncode == 2
        assert f"workers die at once, {TRIES} in a row; look at the messages above" in errors.decode()


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_all_of_them(number: signal.Signals) -> None:
    with fleet() as running:
        workers = running.workers()
        running.process.send_signal(number)
        assert running.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in workers)


def test_a_second_signal_ends_it_at_once() -> None:
    with fleet("--drain", "60s") as running:
        client = running.dial()
        assert_served(client)
        chatting = threading.Event()

        def chatter() -> None:
            with suppress(OSError):
                while not chatting.is_set():
                    client.sendall(b"hello")
                    client.recv(5)

        thread = threading.Thread(target=chatter)
        thread.start()
        try:
            running.process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(0.5)
            running.process.terminate()
            assert running.process.wait(5) == 0
        finally:
            chatting.set()
            thread.join()


@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["shared", "reuse-port"])
def test_stopping_under_load_loses_no_byte_of_clients_that_half_close(options: tuple[str, ...]) -> None:
    with fleet(*options) as running:
        outcomes: list[str] = []
        enough = threading.Semaphore(0)

        def visit() -> None:
            while True:
                try:
                    client = socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE)
                except ConnectionRefusedError:
                    return  # the door is shut
                except OSError as error:
                    # Reset while it was connecting: it had not been let in yet.
                    outcomes.append(f"connecting: {type(error).__name__}")
                    return
                with client:
                    try:
                        client.sendall(pattern(3000))
                        client.shutdown(socket.SHUT_WR)
                        outcomes.append("whole" if to_the_end(client) == pattern(3000) else "cut")
                    except OSError as error:
                        outcomes.append(type(error).__name__)
                enough.release()

        threads = [threading.Thread(target=visit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            enough.acquire(timeout=PATIENCE)
        running.process.terminate()
        for thread in threads:
            thread.join()
        assert running.process.wait(PATIENCE) == 0
        assert {outcome for outcome in outcomes if outcome != "whole"} == set()
        assert len(outcomes) >= 200


def test_clients_that_reset_harm_no_worker() -> None:
    with fleet() as running:
        workers = running.workers()
        for _ in range(50):
            client = running.dial()
            client.sendall(b"x")
            reset(client)
        running.held()
        assert running.workers() == workers


def test_a_worker_out_of_descriptors_goes_on_serving() -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "from halloo.cli.main import main\n"
        "main(['serve', '127.0.0.1:0', '--workers', '2'])\n"
    )
    with started(PYTHON, "-c", program) as process:
        running = Fleet(process)
        try:
            first = running.dial()
            assert_served(first)
            crowd = [running.dial() for _ in range(60)]
            assert_served(first)
            for client in crowd:
                client.close()
            assert_served(running.dial())
        finally:
            running.close()
