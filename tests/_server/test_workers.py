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
from pathlib import Path

import psutil
import pytest

from halloo._core.probe import Probes, read_stamp
from halloo._server.workers import TRIES
from tests.programs import PYTHON, run, started
from tests.stepping import pattern, reset, unconnected

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

    def senders(self, host: str = "127.0.0.1") -> list[socket.socket]:
        """Make so many senders of datagrams that each worker is the one for some of them."""
        return [self._sender(host) for _ in range(64)]

    def _sender(self, host: str) -> socket.socket:
        sender = self._cleanup.enter_context(unconnected(host))
        sender.settimeout(PATIENCE)
        sender.connect((host, self.port))
        return sender

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the workers do nothing for the time of a block: what comes is in their queues."""
        workers = [psutil.Process(pid) for pid in self.workers()]
        for worker in workers:
            worker.suspend()
        assert_settles(lambda: all(worker.status() == psutil.STATUS_STOPPED for worker in workers))
        try:
            yield
        finally:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.resume()

    def stop(self) -> tuple[int, str]:
        """End it with SIGTERM; give the exit code and what it said."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode()


@contextmanager
def fleet(*options: str, place: str = "127.0.0.1:0") -> Iterator[Fleet]:
    with started(*SERVE, place, "--workers", "2", *options) as process:
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
        "from halloo._cli.main import main\n"
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


# Datagrams: each worker has a socket of its own.


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the workers share a socket")
UDP = "udp://127.0.0.1:0"


def assert_answered(senders: list[socket.socket]) -> None:
    for number, sender in enumerate(senders):
        sender.send(b"%d" % number)
    assert_answers(senders)


def assert_answers(senders: list[socket.socket]) -> None:
    assert [sender.recv(100) for sender in senders] == [b"%d" % number for number in range(len(senders))]


def queues(port: int) -> list[int]:
    """Say how many bytes wait at each socket of a port (proc_net(5))."""
    lines = [line.split() for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
    return [
        int(line[4].partition(":")[2], 16) for line in lines if line[1].endswith(f":{port:04X}") and line[2][0] == "0"
    ]


def test_datagrams_of_every_sender_are_answered() -> None:
    with fleet(place=UDP) as running:
        assert_answered(running.senders())
        assert "64 datagrams" in running.stop()[1]


@needs_linux
@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["", "reuse-port"])
def test_datagrams_are_spread_over_the_workers(options: tuple[str, ...]) -> None:
    with fleet(*options, place=UDP) as running:
        senders = running.senders()
        assert_answered(senders)
        with running.frozen():
            for number, sender in enumerate(senders):
                sender.send(b"%d" % number)
            assert len(queues(running.port)) == 2
            assert all(queues(running.port))
        assert_answers(senders)


@needs_linux
@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["", "reuse-port"])
def test_workers_at_every_address_answer_from_the_one_that_was_asked(options: tuple[str, ...]) -> None:
    with fleet(*options, place="udp://:0") as running:
        assert running.process.stdout
        assert running.process.stdout.readline() == f"listening on udp://[::]:{running.port}\n".encode()
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            assert_answered(running.senders(host))  # connected, they would hear from no other


@needs_linux
def test_a_killed_worker_s_datagrams_are_answered_by_the_next_one() -> None:
    with fleet(place=UDP) as running:
        senders = running.senders()
        assert_answered(senders)
        for victim in running.workers():
            os.kill(victim, signal.SIGKILL)
            assert_answered(senders)  # also what comes before there is one


@needs_linux
def test_what_waits_at_a_killed_worker_is_answered_by_the_next_one() -> None:
    with fleet(place=UDP) as running:
        senders = running.senders()
        assert_answered(senders)
        with running.frozen():
            for number, sender in enumerate(senders):
                sender.send(b"%d" % number)
            os.kill(min(running.workers()), signal.SIGKILL)
        assert_answers(senders)


@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["", "reuse-port"])
def test_a_second_copy_for_datagrams_is_told_that_the_port_is_taken(options: tuple[str, ...]) -> None:
    with fleet(*options, place=UDP) as running:
        for workers in (("--workers", "1"), ("--workers", "2", *options)):
            second = run(*SERVE, f"udp://127.0.0.1:{running.port}", *workers)
            assert second.returncode == 2
            assert f"port {running.port} on 127.0.0.1 is taken".encode() in second.stderr
        assert_answered(running.senders())


@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["", "reuse-port"])
def test_the_probes_of_one_sender_are_counted_by_one_worker(options: tuple[str, ...]) -> None:
    with fleet("--timestamps", *options, place=UDP) as running:
        for run_number, sender in enumerate(running.senders()[:16]):
            for number in range(3):
                sender.send(Probes(run_number, 200).make(number, 0))
                stamp = read_stamp(sender.recv(1000))
                assert stamp
                assert stamp.arrived == number + 1


@needs_linux
def test_at_the_end_datagrams_that_have_come_are_answered() -> None:
    with fleet(place=UDP) as running:
        senders = running.senders()
        assert_answered(senders)
        with running.frozen():
            for number, sender in enumerate(senders):
                sender.send(b"%d" % number)
            running.process.terminate()
            moment = threading.Event()
            while queues(running.port) and not all(map(pending, running.workers())):
                moment.wait(0.01)
        assert_answers(senders)
        assert running.process.wait(PATIENCE) == 0


def pending(pid: int) -> bool:
    """Whether a process that does nothing has been told to stop (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"ShdPnd:\s*(\w+)", status)
    return bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["", "reuse-port"])
def test_workers_of_one_family_serve_no_other(options: tuple[str, ...]) -> None:
    with fleet("-6", *options, place=":0") as running:
        with socket.create_connection(("::1", running.port), PATIENCE) as client:
            assert_served(client)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), PATIENCE)
