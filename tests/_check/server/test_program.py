"""Tests of the program under test: it is seen to listen without being touched, and nothing of it is left."""

import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.server.program import FILE_SIZE, HIGHEST, LOWEST, Program, free_port, is_free, located
from halloo._check.spec import ServerSpec
from tests._check.programs import ECHO, LISTEN, WAIT, python

DAEMON = f"""{LISTEN}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", os.getpid(), flush=True)
        {WAIT}
    os._exit(0)
os.wait()
{WAIT}"""


FORKS = """import os, signal, time
def fork(*_):
    if os.fork() == 0:
        while time.process_time() < 0.3: pass
        print("worked", flush=True)
signal.signal(signal.SIGUSR1, fork)
"""


class Forker(Program):
    """A program of which another process begins as soon as it is watched, and works for 0.3 s."""

    def __init__(self) -> None:
        super().__init__(ServerSpec(command=python(f"{FORKS}{LISTEN}while True: signal.pause()")))

    def pause(self, seconds: float) -> None:
        self.tell(signal.SIGUSR1)
        for _ in range(1000):
            if "worked" in self.complaints():
                break
            super().pause(0.01)
        super().pause(seconds)


def soon() -> float:
    """Be a clock that runs three hundred times as fast."""
    return time.monotonic() * 300


@contextmanager
def started(code: str, *words: str, scheme: str = "tcp", port: int = 0) -> Iterator[Program]:
    subject = ServerSpec(command=python(code, *words), scheme=scheme, port=port)
    with closing(Program(subject)) as program:
        program.start()
        yield program


def refused(subject: ServerSpec, clock: Callable[[], float] = soon) -> str:
    """Give the reason why a program cannot be started."""
    with closing(Program(subject, clock)) as program, pytest.raises(Failed) as failed:
        program.start()
    assert failed.value.pattern == "unstarted"
    return str(failed.value)


# It begins to listen.


def test_it_is_seen_to_listen_and_nobody_connects_to_find_out() -> None:
    with started(f"{LISTEN}s.accept()") as program:
        socket.create_connection((program.host, program.port)).close()
        with pytest.raises(Failed, match="ended with code 0"):
            program.pause(10)


def test_its_port_is_odd_and_below_those_that_a_client_gets() -> None:
    with started(LISTEN + WAIT) as program:
        assert program.port % 2 == 1
        assert LOWEST <= program.port <= HIGHEST


def test_it_is_reached_where_it_listens() -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    six = 'import signal, socket, sys\ns = socket.create_server(("::1", int(sys.argv[1])), family=socket.AF_INET6)\n'
    with started(six + WAIT) as program:
        assert program.host == "::1"


def test_a_datagram_server_is_seen_as_well() -> None:
    code = 'import signal, socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", int(sys.argv[1])))\n'
    with started(code + WAIT, scheme="udp") as program:
        assert not is_free("udp", program.port)


def test_a_server_of_a_path_is_given_one() -> None:
    code = "import signal, socket, sys\ns = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
    with started(code + WAIT, "{path}", scheme="unix") as program:
        assert Path(program.path).is_socket()
    assert not Path(program.path).parent.exists()


def test_a_server_that_listens_in_a_child_is_seen() -> None:
    with started(f"import os, signal\nif os.fork():\n    signal.pause()\n{LISTEN}{WAIT}") as program:
        assert len(program.tree()) == 2


def test_a_fixed_port_is_waited_for() -> None:
    port = free_port("tcp")
    with started(LISTEN + WAIT, str(port), port=port) as program:
        assert program.port == port


def test_a_program_that_is_told_no_port_is_found_at_the_one_it_has() -> None:
    port = free_port("tcp")
    assert located(ServerSpec(command=python(LISTEN + WAIT, str(port)))).port == port


def test_a_program_that_takes_another_port_each_time_has_none_that_is_fixed() -> None:
    assert located(ServerSpec(command=python(LISTEN + WAIT, "0"))).port == 0


# It does not.


def test_a_program_that_listens_elsewhere_is_told_so() -> None:
    other, ticks = free_port("tcp"), count()

    def clock() -> float:
        """Stand still until it listens."""
        listening = (each.port for each in processes.sockets() if each.state == processes.LISTEN)
        return next(ticks) if other in listening else 0

    said = refused(ServerSpec(command=python(LISTEN + WAIT, str(other), "PORT")), clock)
    assert said.startswith(f"it listens on port {other}, not on ")
    assert said.endswith(f": say --port {other}")


def test_a_program_that_never_listens_is_not_waited_for_for_ever() -> None:
    said = refused(ServerSpec(command=python("import signal\nsignal.pause()")))
    assert said == "it did not begin to listen within 15 s; it said nothing"


def test_a_program_that_ends_is_not_waited_for_and_is_quoted() -> None:
    said = refused(ServerSpec(command=python("raise SystemExit('no such luck')")), time.monotonic)
    assert said == "it ended with code 1 before it listened; it said: ...'no such luck'"


def test_a_program_that_does_not_exist_is_named() -> None:
    assert refused(ServerSpec(command=("no-such-server", "PORT"))) == "no-such-server: No such file or directory"


def test_a_port_that_somebody_else_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(ServerSpec(command=python(LISTEN + WAIT, str(port)), port=port))
    assert said == f"port {port} is not free: something else has it"


# It is ended.


def test_a_daemon_that_it_began_is_ended_with_it() -> None:
    with started(DAEMON) as program:
        assert program.soon(lambda: program.complaints().endswith("\n"), 10)
        daemon = int(program.complaints().split()[1])
        assert daemon not in program.tree()
    assert not [pid for pid in processes.session(daemon) if not processes.is_zombie(pid)]


def test_its_children_are_ended_with_it() -> None:
    with started(f"{LISTEN}os.fork()\n{WAIT}") as program:
        assert program.soon(lambda: len(program.tree()) == 2, 10)
        leader = program.pid
    assert not [pid for pid in processes.session(leader) if not processes.is_zombie(pid)]


def test_it_can_be_ended_twice() -> None:
    with started(LISTEN + WAIT) as program:
        program.kill()
        program.kill()
        assert not program.started


def test_it_can_be_started_again_on_its_port() -> None:
    with started(LISTEN + WAIT) as program:
        port, first = program.port, program.pid
        program.kill()
        program.start(port=port, patient=False)
        assert program.port == port
        assert program.pid != first


def test_a_program_that_ended_before_its_time_says_why() -> None:
    with started(LISTEN + WAIT) as program:
        program.expire("not done within 1 s")
        program.expire("something else")
        assert program.expired == "not done within 1 s"
        with pytest.raises(Failed, match="ended with code -9"):
            program.pause(10)


def test_a_program_that_is_told_to_end_may_end() -> None:
    with started(LISTEN + WAIT) as program:
        program.tell(signal.SIGTERM)
        program.check_alive(5)
        assert program.ended(10)[0] == -signal.SIGTERM


def test_a_program_that_is_frozen_stands_still_and_goes_on_afterwards() -> None:
    answer = f"{LISTEN}c = s.accept()[0]\nwhile c.send(c.recv(9)): pass"
    with started(answer) as program, socket.create_connection((program.host, program.port)) as client:
        with program.frozen():
            client.send(b"x")
            assert all(map(processes.is_stopped, program.tree()))
        client.settimeout(10)
        assert client.recv(9) == b"x"
        program.check_alive(0)


def test_what_it_said_before_it_ended_is_kept() -> None:
    block = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    with started(f"{block}{LISTEN}signal.sigwait([signal.SIGINT])\nprint('goodbye')") as program:
        program.tell_all(signal.SIGINT)
        program.ended(10)
        assert program.last_words == "goodbye\n"


def test_a_program_that_breaks_down_fails_with_its_last_words() -> None:
    with started(f"{LISTEN}s.accept()\nraise SystemExit('enough')") as program:
        socket.create_connection((program.host, program.port)).close()
        with pytest.raises(Failed, match=r"ended with code 1; it said: \.\.\.'enough'"):
            program.check_alive(10)


def test_a_program_that_ends_in_order_has_not_broken_down() -> None:
    with started(f"{LISTEN}s.accept()") as program:
        socket.create_connection((program.host, program.port)).close()
        program.check_alive(10)


# Its means.


def test_its_descriptors_can_be_limited() -> None:
    with closing(Program(ServerSpec(command=python(LISTEN + WAIT)))) as program:
        program.start(descriptors=64)
        assert resource.prlimit(program.pid, resource.RLIMIT_NOFILE)[0] == 64


def test_the_size_of_its_files_is_limited() -> None:
    with started(LISTEN + WAIT) as program:
        assert resource.prlimit(program.pid, resource.RLIMIT_FSIZE) == (FILE_SIZE, FILE_SIZE)


def test_its_output_can_be_closed() -> None:
    only_then = "import sys\nif sys.stdout or sys.stderr: sys.exit(1)\n"
    with closing(Program(ServerSpec(command=python(only_then + LISTEN + WAIT)))) as program:
        program.start(output="closed")
        assert program.started


def test_its_input_is_empty() -> None:
    with started(f"import sys\nprint(repr(sys.stdin.read()), flush=True)\n{LISTEN}{WAIT}") as program:
        assert program.complaints() == "''\n"


def test_its_work_is_seen() -> None:
    with started(LISTEN + WAIT) as idle, started(f"{LISTEN}\nwhile True: pass") as busy:
        calm = idle.load(0.1)
        assert busy.soon(lambda: busy.load(0.1) > calm, 20)


def test_the_work_of_a_process_that_begins_meanwhile_is_seen() -> None:
    with closing(Forker()) as program:
        program.start()
        began = time.monotonic()
        assert program.load(0.1) * (time.monotonic() - began) >= 0.2


BACKGROUND = f"""{LISTEN}
if os.fork():
    os._exit(0)
{WAIT}"""


def test_what_was_started_may_leave_a_server_in_the_background() -> None:
    with closing(Program(ServerSpec(command=python(BACKGROUND)))) as program:
        program.start()
        program.pause(0.1)
        assert len(program.serving()) == 1


def test_a_server_that_goes_on_when_what_was_started_has_ended_has_not_ended() -> None:
    hours, begun = count(), list[bool]()
    with closing(
        Program(ServerSpec(command=python(BACKGROUND)), lambda: 3600.0 * next(hours) if begun else time.monotonic())
    ) as program:
        program.start()
        begun.append(True)
        with pytest.raises(Failed, match="ended with code 0, and 3 s later others of its processes still listen"):
            program.ended(1)


def test_its_descriptors_are_counted() -> None:
    with started(f"{LISTEN}kept = [os.dup(1) for _ in range(10)]\nprint(os.getpid(), flush=True)\n{WAIT}") as program:
        assert program.soon(lambda: bool(program.complaints()), 10)
        assert program.descriptors() == len([*Path(f"/proc/{program.pid}/fd").iterdir()]) >= 13


def test_its_dead_children_are_counted() -> None:
    with started(f"{LISTEN}\nif not os.fork():\n    os._exit(0)\n{WAIT}") as program:
        assert program.soon(lambda: program.zombies() == 1, 10)
        assert program.tree() == [program.pid]


def test_an_echo_can_be_talked_to() -> None:
    with (
        started(ECHO) as program,
        socket.create_connection((program.host, program.port)) as client,
    ):
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
