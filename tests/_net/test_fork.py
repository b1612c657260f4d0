"""What a forked child does to the objects of its parent: it releases their descriptors, and nothing else.

Each program runs in a process of its own: a fork of the test run would copy its threads' locks as well.
"""

import os
import textwrap
from pathlib import Path

import pytest

from tests.programs import PYTHON, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

COMMON = """
import os, sys
import halloo
from halloo._server import echo, poller

def in_child(act):
    if os.fork() == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.wait()[1] == 0

def assert_echoes(connection):
    connection.send(b"hello")
    assert connection.receive_exactly(5) == b"hello"

def connected(server):
    tls = server.client_context() if server.address.scheme == "tls" else None
    return halloo.connect(server.address, tls=tls, timeout=10)
"""

SERVERS = {
    "tcp": "halloo.Server()",
    "unix": "halloo.Server('unix:echo')",
    "timestamps": "halloo.Server(timestamps=True)",
    "tls": "halloo.Server('tls://127.0.0.1:0')",
    "selectors, tls": "setattr(echo, 'default_poller', poller.Selector) or halloo.Server('tls://127.0.0.1:0')",
}


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def assert_runs(program: str) -> None:
    done = run(PYTHON, "-W", "ignore", "-c", COMMON + textwrap.dedent(program))
    assert (done.returncode, done.stderr.decode()) == (0, "")


# Servers.


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS.keys())
def test_a_child_neither_ends_nor_keeps_a_server(server: str) -> None:
    assert_runs(
        f"""
        reader, writer = os.pipe()
        with {server} as server, connected(server) as client:
            assert_echoes(client)
            in_child(lambda: server.__exit__(None, None, None))
            assert_echoes(client)
            with connected(server) as another:
                assert_echoes(another)
            if os.fork() == 0:  # this one outlives the block
                client.close()
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            server.close()
            assert client.receive() == b""
        halloo.listen(server.address).close()
        os.close(writer)
        os.wait()
        """
    )


def test_a_datagram_server_and_a_listener_stay_the_parent_s() -> None:
    assert_runs(
        """
        with halloo.Server("udp://127.0.0.1:0") as server, halloo.connect_udp(server.address, timeout=10) as client:
            in_child(server.close)
            client.send(b"hello")
            assert client.receive() == b"hello"
        with halloo.listen("unix:echo") as listener:
            in_child(listener.close)
            with halloo.connect("unix:echo", timeout=10) as client, listener.accept(timeout=10) as served:
                client.send(b"hello")
                assert served.receive_exactly(5, timeout=10) == b"hello"
        """
    )


# Servers.


def test_a_child_forked_by_respond_releases_the_server_as_well() -> None:
    assert_runs(
        """
        reader, writer = os.pipe()

        def respond(message):
            if os.fork() == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            return message

        with halloo.Server(respond=respond, framing="raw") as server:
            client = connected(server)
            assert_echoes(client)
        assert client.receive() == b""
        client.close()
        halloo.listen(server.address).close()
        os.close(writer)
        os.wait()
        """
    )


def test_the_errors_of_respond_are_the_parent_s() -> None:
    assert_runs(
        """
        import logging
        logging.disable()
        server = halloo.Server(respond=lambda message: 1 / 0).start()
        with connected(server) as client:
            client.send(b"hello\\n")
            assert client.receive() == b""
        in_child(server.close)
        try:
            server.close()
        except ZeroDivisionError:
            sys.exit()
        sys.exit("no error")
        """
    )


def test_a_child_of_a_child_logs_the_errors_of_respond_as_well() -> None:
    assert_runs(
        """
        import logging
        from halloo._server.responder import _log, log, log_failure
        logged = []
        handler = logging.Handler()
        handler.emit = lambda record: logged.append(record.exc_info[1])
        log.addHandler(handler)

        def use(depth):
            log_failure(ValueError(depth))
            assert _log.flush(10)
            assert [str(error) for error in logged] == [str(depth)]
            logged.clear()
            if depth < 3:
                in_child(lambda: use(depth + 1))

        use(1)
        """
    )


# Listeners and connections.


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_child_that_ends_a_connection_leaves_it_to_its_parent(scheme: str) -> None:
    assert_runs(
        f"""
        def use_closed():
            client.close()
            try:
                client.receive()
            except halloo.ConnectionClosed:
                return
            raise AssertionError

        with {SERVERS[scheme]} as server, connected(server) as client:
            assert_echoes(client)
            for end in (client.close, client.abort, use_closed):
                in_child(end)
                assert_echoes(client)
            client.send_eof()
            assert client.receive() == b""
        with halloo.listen(0) as listener, halloo.connect(listener.address) as client:
            with listener.accept(timeout=10) as served:
                in_child(served.abort)
            assert client.receive(timeout=10) == b""
        """
    )
