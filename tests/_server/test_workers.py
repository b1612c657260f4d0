"""Several processes on one port, as the command runs them: `halloo serve --workers 2`; and killed processes."""

import errno
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from halloo._core.probe import Probes, read_timestamp
from halloo._net.listener import listen
from halloo._server.log import Log
from halloo._server.running import Service
from halloo._server.workers import DRAIN_SIGNAL, MAX_EARLY_EXITS, WorkerPool
from halloo.errors import LocalError
from tests.conditions import descriptors_exhausted
from tests.peers import payload, receive_all, reset, unused_port
from tests.programs import PYTHON, listening_port, run, started
from tests.stepping import unconnected

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "win32", reason="needs fork")

TIMEOUT = 20  # seconds without a byte, after which the test fails
SERVE = (PYTHON, "-m", "halloo", "serve")
shared_and_reuse_port = pytest.mark.parametrize("options", [(), ("--reuse-port",)], ids=["shared", "reuse-port"])


class RunningPool:
    """A running parent process and its port."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self.process = process
        self.port = int(process.stdout.readline().rpartition(b":")[2])
        self._cleanup = ExitStack()

    def dial(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        return self._cleanup.enter_context(client)

    def close(self) -> None:
        self._cleanup.close()

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def clients_by_worker(self) -> dict[int, list[socket.socket]]:
        """Connect until each worker serves a client; return the clients of each worker."""
        found: dict[int, list[socket.socket]] = {pid: [] for pid in self.workers()}
        for _ in range(1000):
            client = self.dial()
            assert_served(client)
            found[self.worker_of(client)].append(client)
            if all(found.values()):
                return found
        raise AssertionError(f"not every worker serves: {found}")

    def worker_of(self, client: socket.socket) -> int:
        """Return the worker that has a client's connection."""
        port = client.getsockname()[1]
        for pid in self.workers():
            with suppress(psutil.NoSuchProcess):
                for connection in psutil.Process(pid).net_connections("tcp4"):
                    if connection.raddr[1:] == (port,):
                        return pid
        raise AssertionError("no worker has it")

    def senders(self, host: str) -> list[socket.socket]:
        """Make enough datagram senders that each worker serves some of them."""
        senders = [self._cleanup.enter_context(unconnected(host)) for _ in range(64)]
        for sender in senders:
            sender.settimeout(TIMEOUT)
            sender.connect((host, self.port))
        return senders

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the workers for the block: what arrives stays in their queues."""
        workers = [psutil.Process(pid) for pid in self.workers()]
        for worker in workers:
            worker.suspend()
        wait_until(lambda: all(worker.status() == psutil.STATUS_STOPPED for worker in workers))
        try:
            yield
        finally:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.resume()

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return the exit code and standard error."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, errors.decode()


@contextmanager
def running_pool(*options: str, place: str = "127.0.0.1:0", argv: Sequence[str] = ()) -> Iterator[RunningPool]:
    with started(*(argv or (*SERVE, place, "--workers", "2", *options))) as process:
        running = RunningPool(process)
        try:
            yield running
        finally:
            running.close()


def assert_served(client: socket.socket) -> None:
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"


def wait_until(condition: Callable[[], bool]) -> None:
    """Check the condition repeatedly until it holds."""
    moment = threading.Event()
    for _ in range(500):
        if condition():
            return
        moment.wait(0.02)
    raise AssertionError("it never was")


# A lifetime.


@shared_and_reuse_port
def test_two_workers_serve_and_a_killed_one_loses_its_own_clients_only(options: tuple[str, ...]) -> None:
    with running_pool(*options) as running:
        workers = running.workers()
        assert len(workers) == 2
        held = running.clients_by_worker()
        assert_port_is_taken(running.port, "--workers", "2", *options)
        for _ in range(50):
            client = running.dial()
            client.sendall(b"x")
            reset(client)
        for worker, (client, *_) in held.items():  # the parent stops them, and a signal to a worker alone does nothing
            os.kill(worker, signal.SIGTERM)
            assert_served(client)  # in a turn after the signal
        running.clients_by_worker()
        assert running.workers() == workers

        (victim, lost), (_, kept) = held.items()
        os.kill(victim, signal.SIGKILL)
        for client in lost:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        for client in kept:
            assert_served(client)
        wait_until(lambda: len(running.workers() - {victim}) == 2)
        running.clients_by_worker()

        workers = running.workers()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(TIMEOUT) == 0
        assert not any(alive(pid) for pid in workers)


def assert_port_is_taken(port: int, *options: str, scheme: str = "tcp") -> None:
    second = run(*SERVE, f"{scheme}://127.0.0.1:{port}", *options)
    assert second.returncode == 2
    assert f"port {port} on 127.0.0.1 is taken".encode() in second.stderr


def test_a_suspended_worker_delays_no_client_and_the_counts_of_a_killed_one_are_kept() -> None:
    with running_pool() as running:
        held = running.clients_by_worker()
        victim, served = min(held), sum(map(len, held.values()))
        os.kill(victim, signal.SIGSTOP)
        try:
            for _ in range(20):
                assert_served(running.dial())
        finally:
            os.kill(victim, signal.SIGCONT)
        running.close()
        with running.dial() as client:
            client.sendall(payload(1000))
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == payload(1000)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(running.workers() - {victim}) == 2)
        code, errors = running.stop()
        assert code == 0
        size = 5 * (served + 20) + 1000
        assert f"halloo: {served + 21} clients in" in errors
        assert f"{size} bytes in, {size} bytes out" in errors


def test_the_workers_of_a_killed_parent_exit_and_the_port_is_free_at_once() -> None:
    with running_pool() as running:
        workers = running.workers()
        running.clients_by_worker()
        running.process.kill()
        running.process.wait(TIMEOUT)
        wait_until(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in workers))
        with started(*SERVE, f"127.0.0.1:{running.port}", "--workers", "2") as again:
            assert again.stdout
            assert again.stdout.readline() == f"listening on tcp://127.0.0.1:{running.port}\n".encode()


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


# Starting.


def test_workers_that_repeatedly_exit_early_make_the_parent_give_up() -> None:
    with running_pool() as running:
        moment = threading.Event()
        while running.process.poll() is None:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                for pid in running.workers():
                    os.kill(pid, signal.SIGKILL)
            moment.wait(0.02)
        _, errors = running.process.communicate()
        assert running.process.returncode == 2
        assert f"{MAX_EARLY_EXITS} workers in a row exited within 1 s; see the messages above" in errors.decode()


REFUSED_FORKS = """
import errno, os, itertools, sys
from functools import partial
from halloo._net.listener import listen
from halloo._server.log import Log
from halloo._server.running import Service
from halloo._server.workers import WorkerPool

calls = itertools.count()

def fork():
    if next(calls) in (2, 3, 4):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.fork()

with WorkerPool([listen("127.0.0.1:0")], Service(), 2, shared=True, fork=fork) as pool:
    pool.run(10, lambda: print(pool.addresses[0], flush=True), Log(partial(print, file=sys.stderr)))
"""


def test_a_worker_that_cannot_be_restarted_is_tried_again_and_the_others_serve_on() -> None:
    with running_pool(argv=(PYTHON, "-c", REFUSED_FORKS)) as running:
        victim, survivor = running.clients_by_worker().items()
        os.kill(victim[0], signal.SIGKILL)
        wait_until(lambda: len(running.workers() - {victim[0]}) == 2)
        for client in survivor[1]:
            assert_served(client)
        code, errors = running.stop()
        assert code == 0
        first, *others, last = errors.splitlines()
        lost = len(victim[1])
        connections = f"{lost} connection{'s' * (lost != 1)}"
        assert re.fullmatch(rf"halloo: worker [12] \(pid {victim[0]}\) has ended: SIGKILL; {connections} lost", first)
        assert re.fullmatch(r"halloo: worker [12] is started again \(pid \d+\)", last)
        assert others == [
            f"halloo: cannot restart a worker: Resource temporarily unavailable; trying again in {pause} s"
            for pause in ("0.1", "0.2", "0.4")
        ]


@pytest.mark.parametrize("descriptors", [0, 2, 3], ids=["pipe", "poller", "wake-up"])
def test_a_pool_without_descriptors_of_its_own_closes_the_listeners(descriptors: int) -> None:
    listener = listen("127.0.0.1:0")
    with descriptors_exhausted(but=descriptors), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        WorkerPool([listener], Service(), 2, shared=True)
    assert listener.sockets[0].fileno() < 0


def test_workers_that_cannot_be_started_end_the_server_with_an_error() -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with WorkerPool([listen("127.0.0.1:0")], Service(), 2, shared=True, fork=refuse) as pool:
        with pytest.raises(LocalError, match="cannot start worker 1 of 2: Resource temporarily unavailable"):
            pool.run(0, lambda: None, Log(print))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_a_signal_while_workers_are_started_ends_them_and_starts_no_other() -> None:
    started: list[int] = []

    def start() -> int:
        signal.raise_signal(signal.SIGTERM)
        started.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ))
        return started[-1]

    with WorkerPool([listen("127.0.0.1:0")], Service(), 2, shared=True, fork=start) as pool:
        pool.run(0, lambda: None, Log(print))
    assert len(started) == 1


def test_workers_are_started_without_an_output() -> None:
    """Python has no sys.stdout then; the command opens one, a program that calls `serve` need not."""
    port = unused_port()
    serving = f"import halloo; halloo.serve('127.0.0.1:{port}', workers=2)"
    with started("sh", "-c", f'exec {PYTHON} -c "{serving}" >&-') as process:
        assert listening_port(process) == port
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2)


# Stopping.


def test_a_signal_to_every_process_leaves_the_drain_complete() -> None:
    """A service manager sends SIGTERM to the workers too."""
    with running_pool("--drain", "1m") as running:
        client = running.dial()
        assert_served(client)
        sent = 0
        client.setblocking(False)
        with suppress(BlockingIOError):
            while True:  # until the worker, whose answer is not read, reads no more
                sent += client.send(payload(100_000))
                select.select([], [client], [], 0.1)
        client.settimeout(TIMEOUT)
        os.kill(running.worker_of(client), signal.SIGTERM)
        running.process.terminate()
        wait_until(lambda: not listens(running.process.pid))  # it has forwarded the signal before
        client.shutdown(socket.SHUT_WR)
        assert len(receive_all(client)) == sent
        assert running.process.wait(TIMEOUT) == 0


def listens(pid: int) -> bool:
    return any(each.status == psutil.CONN_LISTEN for each in psutil.Process(pid).net_connections("tcp4"))


@shared_and_reuse_port
def test_stopping_under_load_loses_no_byte_of_clients_that_half_close(options: tuple[str, ...]) -> None:
    with running_pool(*options) as running:
        outcomes: list[str] = []
        enough = threading.Semaphore(0)

        def visit() -> None:
            while True:
                try:
                    client = socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT)
                except ConnectionRefusedError:
                    return  # no longer listening
                except OSError as error:
                    # Reset while connecting, before it was accepted.
                    outcomes.append(f"connecting: {type(error).__name__}")
                    return
                with client:
                    try:
                        client.sendall(payload(3000))
                        client.shutdown(socket.SHUT_WR)
                        outcomes.append("whole" if receive_all(client) == payload(3000) else "cut")
                    except OSError as error:
                        outcomes.append(type(error).__name__)
                enough.release()

        threads = [threading.Thread(target=visit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            enough.acquire(timeout=TIMEOUT)
        running.process.terminate()
        for thread in threads:
            thread.join()
        assert running.process.wait(TIMEOUT) == 0
        assert {outcome for outcome in outcomes if outcome != "whole"} == set()
        assert len(outcomes) >= 200


def test_a_worker_out_of_descriptors_goes_on_serving() -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "from halloo._cli.main import main\n"
        "main(['serve', '127.0.0.1:0', '--workers', '2'])\n"
    )
    with running_pool(argv=(PYTHON, "-c", program)) as running:
        first = running.dial()
        assert_served(first)
        crowd = [running.dial() for _ in range(60)]
        assert_served(first)
        for client in crowd:
            client.close()
        assert_served(running.dial())


# Datagrams: each worker has a socket of its own.


def send_numbers(senders: list[socket.socket]) -> None:
    for number, sender in enumerate(senders):
        sender.send(b"%d" % number)


def assert_answers(senders: list[socket.socket]) -> None:
    assert [sender.recv(100) for sender in senders] == [b"%d" % number for number in range(len(senders))]


def queues(port: int) -> list[int]:
    """Return how many bytes are queued at each IPv4 socket of a port (proc_net(5))."""
    lines = [line.split() for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
    return [
        int(line[4].partition(":")[2], 16) for line in lines if line[1].endswith(f":{port:04X}") and line[2][0] == "0"
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the workers share a socket")
@shared_and_reuse_port
def test_two_workers_answer_every_datagram_though_one_is_killed_and_both_are_stopped(options: tuple[str, ...]) -> None:
    with running_pool("--timestamps", *options, place="udp://:0") as running:
        assert running.process.stdout
        assert running.process.stdout.readline() == f"listening on udp://[::]:{running.port}\n".encode()
        for host in ("127.0.0.2", "::1", "127.0.0.1"):
            senders = running.senders(host)  # connected: they receive from this address only
            send_numbers(senders)
            assert_answers(senders)
        for run_number, sender in enumerate(senders[:16]):  # the probes of one sender are counted by one worker
            for number in range(3):
                sender.send(Probes(run_number, 200).encode(number, 0))
                timestamp = read_timestamp(sender.recv(1000))
                assert timestamp
                assert timestamp.arrived == number + 1
        for workers in (("--workers", "1"), ("--workers", "2", *options)):
            assert_port_is_taken(running.port, *workers, scheme="udp")

        with running.suspended():
            send_numbers(senders)
            assert len(queues(running.port)) == 2
            assert all(queues(running.port))
            os.kill(min(running.workers()), signal.SIGKILL)
        assert_answers(senders)  # those in the queue of the killed worker by its successor

        wait_until(lambda: len(running.workers()) == 2)
        with running.suspended():
            send_numbers(senders)
            running.process.terminate()
            moment = threading.Event()
            while queues(running.port) and not all(map(has_pending_signal, running.workers())):
                moment.wait(0.01)
        assert_answers(senders)
        _, errors = running.process.communicate(timeout=TIMEOUT)
        assert running.process.returncode == 0
        assert f"halloo: {3 * 64 + 48 + 2 * 64} datagrams in" in errors.decode()


def has_pending_signal(pid: int) -> bool:
    """Whether a suspended worker has yet to act on its signal to drain (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"ShdPnd:\s*(\w+)", status)
    return bool(found and int(found[1], 16) >> (DRAIN_SIGNAL - 1) & 1)


def test_workers_of_one_address_family_serve_no_other() -> None:
    with running_pool("-6", "--reuse-port", place=":0") as running:
        with socket.create_connection(("::1", running.port), TIMEOUT) as client:
            assert_served(client)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), TIMEOUT)
