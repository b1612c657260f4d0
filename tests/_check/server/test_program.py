"""Tests of the program under test: detecting that it listens, killing it, and measuring it."""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.processes import MAX_FILE_SIZE
from halloo._check.server.program import Output, Program, with_detected_port
from halloo._check.sockets import MAX_PORT, MIN_PORT, free_port, is_free
from halloo._check.spec import ServerSpec, Stdin
from halloo.errors import UsageError
from tests._check.programs import LISTEN, WAIT, alive, python

IDLE = LISTEN + WAIT


def fast_clock() -> float:
    """A clock that runs 300 times as fast."""
    return time.monotonic() * 300


@contextmanager
def started(
    code: str = IDLE,
    *words: str,
    scheme: str = "tcp",
    port: int = 0,
    descriptors: int | None = None,
    output: Output = "kept",
) -> Iterator[Program]:
    spec = ServerSpec(command=python(code, *words), scheme=scheme, port=port)
    with closing(Program(spec)) as program:
        program.start(descriptors=descriptors, output=output)
        yield program


def refused(*command: str, clock: Callable[[], float] = fast_clock, port: int = 0, start: float = 15) -> str:
    """Return the reason why a program cannot be started."""
    spec = ServerSpec(command=command, port=port, start=start)
    with closing(Program(spec, clock)) as program, pytest.raises(Failed) as failed:
        program.start()
    assert failed.value.pattern.split()[0] == "unstarted"
    return failed.value.lines


# Starting.


def test_listening_is_detected_without_connecting() -> None:
    with started(f"{LISTEN}s.accept()") as program:
        socket.create_connection((program.host, program.port)).close()
        with pytest.raises(Failed, match="exited with code 0"):
            program.pause(10)


def test_its_port_is_odd_and_below_the_ephemeral_range() -> None:
    assert all(port % 2 == 1 and MIN_PORT <= port <= MAX_PORT for port in (free_port("tcp") for _ in range(20)))


def test_the_host_is_the_one_it_listens_on() -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    with started(
        IDLE.replace('("127.0.0.1", int(sys.argv[1]))', '("::1", int(sys.argv[1])), family=socket.AF_INET6')
    ) as program:
        assert program.host == "::1"


def test_a_server_on_an_address_of_its_own_is_dialled_there() -> None:
    with started(IDLE.replace("127.0.0.1", "127.0.1.1")) as program:
        socket.create_connection((program.host, program.port)).close()
        assert program.host == "127.0.1.1"


def test_a_bound_udp_server_is_detected() -> None:
    code = (
        f'import signal, socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", int(sys.argv[1])))\n{WAIT}'
    )
    with started(code, scheme="udp") as program:
        assert not is_free("udp", program.port)


def test_a_unix_socket_server_gets_a_temporary_path() -> None:
    code = f"import signal, socket, sys\ns = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n{WAIT}"
    with started(code, "{path}", scheme="unix") as program:
        assert Path(program.path).is_socket()
    assert not Path(program.path).parent.exists()


def test_a_server_that_listens_in_a_child_is_detected_and_its_children_are_killed() -> None:
    with started(f"import os, signal\nif os.fork():\n    signal.pause()\n{IDLE}") as program:
        assert len(program.tree.running()) == 2
        leader = program.pid
    assert not alive(leader)


def test_a_fixed_port_is_used_and_detected() -> None:
    port = free_port("tcp")
    with started(IDLE, str(port), port=port) as program:
        assert program.port == port
    assert with_detected_port(ServerSpec(command=python(IDLE, str(port)))).port == port
    assert with_detected_port(ServerSpec(command=python(IDLE, "0"))).port == 0  # another one each time


# Failing to start.


def test_listening_on_another_port_is_reported() -> None:
    other, ticks = free_port("tcp"), count()

    def clock() -> float:
        """Stay at 0 until it listens."""
        listening = (each.port for each in processes.sockets("tcp", processes.LISTEN))
        return next(ticks) if other in listening else 0

    reason = refused(*python(IDLE, str(other), "PORT"), clock=clock)
    assert reason.startswith(f"the server listens on port {other}, not on ")
    assert reason.endswith(f"; check it with: halloo check server --port {other}")


def test_why_a_program_does_not_listen_is_reported() -> None:
    early = "the server exited with code 1 before it listened\nno such luck"
    assert refused(*python("raise SystemExit('no such luck')"), clock=time.monotonic) == early
    late = "the server did not listen within 15 s; it printed nothing"
    assert refused(*python("import signal\nsignal.pause()")) == late
    assert refused("no-such-server", "PORT") == "no-such-server: No such file or directory"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        reason = refused(*python(IDLE, str(port)), port=port)
        owner = Path("/proc/self/comm").read_text().strip()
        assert reason == f"port {port} is in use by {owner} (pid {os.getpid()}); stop it, or choose another port"


STARTER = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("ended", flush=True)))
with socket.socket(socket.AF_UNIX) as daemon:
    daemon.connect(sys.argv[1])
    daemon.send(sys.argv[2].encode())
    signal.pause()
"""


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_port_served_by_another_process_is_reported_at_once(scheme: str, tmp_path: Path) -> None:
    """As with `docker run -p`: the command asks a daemon, here this test, for the server."""
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    path = str(tmp_path / "daemon")
    with socket.socket(socket.AF_UNIX) as daemon, socket.socket(type=kind) as served:
        daemon.bind(path)
        daemon.listen()

        def serve() -> None:
            with daemon.accept()[0] as connection:
                served.bind(("127.0.0.1", int(connection.recv(9))))
            if kind == socket.SOCK_STREAM:
                served.listen()

        thread = threading.Thread(target=serve)
        thread.start()
        spec = ServerSpec(command=python(STARTER, path, "PORT"), scheme=scheme)
        with closing(Program(spec)) as program:
            with pytest.raises(Failed) as failed:
                program.start()
            assert program.output() == "ended\n"
        thread.join()
        address = f"{'udp://' if scheme == 'udp' else ''}localhost:PORT"
        assert str(failed.value) == (
            f"what listens on port {served.getsockname()[1]} is no process of the command, as with docker run; "
            f"start it yourself, and check its address: halloo check server {address}"
        )


# Ending.


# A daemon (daemon(7)): in a session of its own, and the process that started it has exited.
DAEMON = f"import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{IDLE}"


def test_a_daemon_is_found_measured_signalled_and_killed() -> None:
    with started(DAEMON) as program:
        (daemon,) = program.listening_pids()
        session = os.getsid(daemon)
        assert program.tree.running() == alive(session) == [daemon]
        assert session != program.pid
        assert program.tree.total(processes.resident_memory) > 1 << 20
        program.pause(0.01)
    assert not alive(session)
    with started(DAEMON) as program:
        program.send_signal(signal.SIGTERM)
        assert program.wait_exit(10)[0] == 0


def test_a_daemon_beside_the_server_is_killed_as_well() -> None:
    twice = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        print(os.getpid(), flush=True)\n"
    with started(f"{LISTEN}{twice}        {WAIT}    os._exit(0)\nos.wait()\n{WAIT}") as program:
        assert program.wait_until(lambda: program.output().endswith("\n"), 10)
        daemon = int(program.output())
        assert sorted(program.tree.running()) == sorted([program.pid, daemon])
        session = os.getsid(daemon)
    assert not alive(session)


def test_processes_that_fork_and_exit_all_the_time_are_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    # flock(2): the lock is held while any of them lives.
    code = f"""import fcntl\n{LISTEN}
lock = open(sys.argv[2], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork() == 0:
    while True:
        if os.fork():
            os._exit(0)
{WAIT}"""
    with started(code, "PORT", str(lock)):
        pass
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_it_can_be_killed_and_restarted_on_the_same_port() -> None:
    with started() as program:
        port, first = program.port, program.pid
        for _ in range(2):
            program.kill()
        assert not program.started
        program.start(port=port, wait_for_port=False)
        assert (program.port, program.pid != first) == (port, True)


def test_the_output_of_an_earlier_start_is_forgotten() -> None:
    with started(f"print('once', flush=True)\n{IDLE}") as program:
        program.kill()
        program.start()
        assert program.output() == "once\n"


def test_a_second_copy_runs_until_it_exits_or_listens() -> None:
    with started() as program, program.copy() as second:
        assert second.run(program.argv(program.port), 60) == 1
        assert "Address already in use" in second.words()
        second.kill()
        assert second.run(program.argv(free_port("tcp")), 60) is None


def test_the_first_reason_for_killing_it_early_is_kept() -> None:
    with started() as program:
        program.expire("not done within 1 s")
        program.expire("something else")
        assert program.expired == "not done within 1 s"
        with pytest.raises(Failed, match=r"^not done within 1 s$"):  # and not that it was killed, which halloo did
            program.pause(10)


def test_a_program_may_exit_after_a_signal() -> None:
    with started() as program:
        program.send_signal(signal.SIGTERM)
        program.check_alive(5)
        assert program.wait_exit(10)[0] == -signal.SIGTERM


def test_a_suspended_program_is_stopped_and_continues_afterwards() -> None:
    answer = f"{LISTEN}c = s.accept()[0]\nwhile c.send(c.recv(9)): pass"
    with started(answer) as program, socket.create_connection((program.host, program.port)) as client:
        with program.suspended():
            client.send(b"x")
            assert all(map(processes.is_stopped, program.tree.running()))
        client.settimeout(10)
        assert client.recv(9) == b"x"
        program.check_alive(0)


def test_the_output_until_its_exit_is_kept() -> None:
    block = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    with started(f"{block}{LISTEN}signal.sigwait([signal.SIGINT])\nprint('goodbye')") as program:
        program.send_signal(signal.SIGINT, to_all=True)
        program.wait_exit(10)
        assert program.final_output == "goodbye\n"


def test_an_exit_with_an_error_is_reported_with_the_output() -> None:
    with started(f"{LISTEN}s.accept()\nraise SystemExit('enough')") as program:
        socket.create_connection((program.host, program.port)).close()
        with pytest.raises(Failed, match="exited with code 1") as failed:
            program.check_alive(10)
        assert failed.value.words == "enough"


BACKGROUND = f"{LISTEN}\nif os.fork():\n    os._exit(0)\n{WAIT}"


def test_the_first_process_may_leave_a_server_in_the_background() -> None:
    with started(BACKGROUND) as program:
        program.pause(0.1)
        assert len(program.listening_pids()) == 1


def test_a_background_server_that_still_listens_has_not_exited() -> None:
    hours, fast, spec = count(), list[bool](), ServerSpec(command=python(BACKGROUND))
    with closing(Program(spec, lambda: 3600.0 * next(hours) if fast else time.monotonic())) as program:
        program.start()
        fast.append(True)
        with pytest.raises(Failed, match="exited with code 0, but 3 s later others of its processes still listen"):
            program.wait_exit(1)


# Limits and resource usage.


def test_it_is_limited_from_its_first_instruction() -> None:
    names = ("NOFILE", "FSIZE", "CORE")
    show = f"[resource.getrlimit(each) for each in {[f'RLIMIT_{name}' for name in names]}]".replace("'", "")
    show = show.replace("RLIMIT_", "resource.RLIMIT_")
    code = f"import resource\nprint({show}, open('/proc/self/oom_score_adj').read().strip(), flush=True)\n{IDLE}"
    with started(code, descriptors=64) as program:
        size = MAX_FILE_SIZE
        assert program.output() == f"[(64, 64), ({size}, {size}), (0, 0)] 1000\n"


def test_its_output_can_be_closed() -> None:
    with started(f"import sys\nif sys.stdout or sys.stderr: sys.exit(1)\n{IDLE}", output="closed") as program:
        assert program.started


@pytest.mark.parametrize(
    ("stdin", "shown"),
    [("pipe", "False []"), ("pty", "True []"), ("none", "False [0] ''")],
    ids=["pipe", "pty", "none"],
)
def test_its_input_is_open_and_silent_unless_it_is_to_have_none(stdin: Stdin, shown: str) -> None:
    code = f"""import select\n{LISTEN}
ready = [each.fileno() for each in select.select([sys.stdin, s], [], [], 0.1)[0]]
print(sys.stdin.isatty(), ready, repr(sys.stdin.read()) if ready else "", flush=True)
{WAIT}"""
    with closing(Program(ServerSpec(command=python(code), stdin=stdin))) as program:
        program.start()
        assert program.wait_until(lambda: program.output().endswith("\n"), 10)
        assert program.output().strip() == shown


def test_a_slow_starter_may_have_more_time() -> None:
    late = "the server did not listen within 60 s; it printed nothing"
    assert refused(*python("import signal\nsignal.pause()"), start=60) == late
    for wrong in (-1, float("inf"), float("nan")):
        with pytest.raises(UsageError, match=r"^start must be"):
            ServerSpec(command=("server", "PORT"), start=wrong)


def test_its_cpu_load_is_measured() -> None:
    with started() as idle, started(f"{LISTEN}\nwhile True: pass") as busy:
        calm = idle.cpu_load(0.1)
        assert busy.wait_until(lambda: busy.cpu_load(0.1) > calm, 20)


class Forker(Program):
    """A program that starts a child as soon as it is measured, which uses 0.3 s of CPU time."""

    def pause(self, seconds: float) -> None:
        self.send_signal(signal.SIGUSR1)
        for _ in range(1000):
            if "finished" in self.output():
                break
            super().pause(0.01)
        super().pause(seconds)


def test_the_cpu_time_of_a_process_started_meanwhile_is_measured() -> None:
    forks = """import os, signal, time
def fork(*_):
    if os.fork() == 0:
        while time.process_time() < 0.3: pass
        print("finished", flush=True)
signal.signal(signal.SIGUSR1, fork)
"""
    with closing(Forker(ServerSpec(command=python(f"{forks}{LISTEN}while True: signal.pause()")))) as program:
        program.start()
        began = time.monotonic()
        assert program.cpu_load(0.1) * (time.monotonic() - began) >= 0.2


def test_its_descriptors_and_zombies_are_counted() -> None:
    holds = "kept = [os.dup(1) for _ in range(10)]\nif not os.fork():\n    os._exit(0)\n"
    with started(f"{LISTEN}{holds}{WAIT}") as program:
        assert program.wait_until(lambda: program.tree.zombies() == 1, 10)
        assert program.tree.running() == [program.pid]
        assert program.tree.total(processes.descriptors) == len([*Path(f"/proc/{program.pid}/fd").iterdir()]) >= 13
