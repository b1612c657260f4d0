"""The public Server class: what it serves and refuses, how it starts and closes, and its certificate."""

import asyncio
import errno
import inspect
import os
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import halloo
from halloo import ClientTLS, Limits, Server, ServerTLS, connect
from halloo._core import applicable
from halloo._core.probe import Probes, read_timestamp
from halloo._net import unix
from halloo._net.connector import dial
from halloo._server.server import open_service, respond_handler
from tests.conditions import descriptors_exhausted, linux

trustme = pytest.importorskip("trustme")

TIMEOUT = 20.0  # seconds, longer than any passing test takes
TCP, UDP = "127.0.0.1:0", "udp://127.0.0.1:0"
PROBE = Probes(run=7, size=200).encode(0, 0)


def assert_echoes(server: Server, tls: ClientTLS | ssl.SSLContext | None = None) -> None:
    with connect(server.address, timeout=TIMEOUT, tls=tls) as connection:
        connection.send(b"hello")
        assert connection.receive_exactly(5) == b"hello"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1", "::1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return folder


@pytest.fixture(params=["made", "files"])
def tls_server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    tls = ServerTLS(cert=folder / "cert.pem", key=folder / "key.pem") if request.param == "files" else None
    with Server("tls://localhost:0", tls=tls) as server:
        yield server


# Opening.


@linux
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers need fork")
@pytest.mark.parametrize(("place", "reuse_port"), [(TCP, True), (UDP, False)])
def test_the_listeners_of_the_first_workers_are_closed_when_there_is_none_for_another(
    place: str, reuse_port: bool
) -> None:
    handler = respond_handler(None, "line", b"", timestamps=False)
    with descriptors_exhausted(but=4), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        open_service(
            (place,),
            handler,
            Limits(),
            None,
            family=None,
            mode=unix.MODE,
            timestamps=False,
            busy_poll=False,
            workers=10,
            reuse_port=reuse_port,
        )


# Serving.


def test_serving_binds_a_free_loopback_port() -> None:
    with Server() as one, Server(family=4) as other:
        assert one.address.port != other.address.port
        assert all(address.loopback for address in (*one.addresses, *other.addresses))
        assert [address.host for address in other.addresses] == ["127.0.0.1"]


def test_a_server_echoes_on_every_given_address_within_limits_of_both_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    limits = Limits(max_connections=5, max_bytes=100, any_port=True)
    with Server(TCP, ("127.0.0.1", 0), UDP, limits=limits) as server:
        assert len(server.addresses) == 3
        for address in server.addresses:
            with dial(address, timeout=TIMEOUT) as connection:
                connection.send(b"hello")
                assert connection.receive(timeout=TIMEOUT) == b"hello"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "sent", "answer"),
    [
        ({"respond": bytes.upper, "greeting": b"hi\n"}, b"hello\r\n", b"hi\nHELLO\r\n"),
        ({"greeting": b"hi\n"}, b"hello\n", b"hi\nhello\n"),
        ({"respond": lambda chunk: chunk[::-1], "framing": "raw"}, b"hello", b"olleh"),
    ],
)
def test_a_server_answers_with_respond_and_a_greeting(options: dict[str, Any], sent: bytes, answer: bytes) -> None:
    with Server(**options) as server, connect(server.address, timeout=TIMEOUT) as client:
        client.send(sent)
        client.send_eof()
        assert client.receive_exactly(len(answer)) == answer
        assert client.receive() == b""


def test_a_server_answers_each_datagram_with_any_framing() -> None:
    framings: tuple[halloo.Framing, ...] = ("line", "raw", "length")
    for framing in framings:
        with (
            Server(UDP, respond=bytes.upper, framing=framing) as server,
            halloo.connect_udp(server.address) as connection,
        ):
            for data in (b"two\nlines\n", b"", b"no end"):
                connection.send(data)
                assert connection.receive(timeout=TIMEOUT) == data.upper()


def test_a_server_stamps_probes_and_may_poll_without_sleeping() -> None:
    for busy_poll in (False, True):
        with Server(TCP, UDP, timestamps=True, busy_poll=busy_poll) as server:
            for address in server.addresses:
                with dial(address, timeout=TIMEOUT) as connection:
                    connection.send(PROBE)
                    assert read_timestamp(connection.receive(timeout=TIMEOUT))


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        (TCP, {"greeting": b"x", "framing": "words"}, "framing must be 'line', 'raw' or 'length', not 'words'"),
        (TCP, {"framing": "length"}, "framing is for respond, and none is given"),
        (TCP, {"timestamps": True, "respond": bytes.upper}, "timestamps is for the echo, and respond or greeting rep"),
        (
            TCP,
            {"timestamps": True, "greeting": b"hi\n"},
            "timestamps is for the echo, and respond or greeting rep",
        ),
        (UDP, {"limits": Limits(idle_timeout=5)}, "idle_timeout is for connections, and udp:// has none; leave it out"),
        (UDP, {"limits": Limits(stall_timeout=None)}, "stall_timeout is for connections, and udp:// has none; leave"),
        (TCP, {"limits": Limits(any_port=True)}, "any_port is for udp://, and no address is; leave it out"),
        (UDP, {"greeting": b"hi"}, "greeting is for connections, and udp:// has none"),
    ],
    ids=str,
)
def test_a_server_refuses_options_without_effect(address: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(halloo.UsageError, match=f"^{message}"), Server(address, **options):
        pass


FOR_EVERY_ADDRESS: dict[Callable[..., object], set[str]] = {
    Limits: {"max_bytes", "rate_limit", "buffer"},
    halloo.listen: {"addresses", "buffer", "reuse_port"},
    Server: {"addresses", "respond", "framing", "limits", "timestamps", "busy_poll", "drain"},
    halloo.serve: {"addresses", "respond", "framing", "limits", "timestamps", "busy_poll", "drain"}
    | {"workers", "reuse_port", "stats", "metrics", "quiet", "log"},
}


def test_each_option_is_for_every_address_or_has_a_rule() -> None:
    ruled = {name for rule in applicable.RULES for name in rule.options}
    for function, expected in FOR_EVERY_ADDRESS.items():
        assert set(inspect.signature(function).parameters) - ruled == expected


# Starting and closing.


def test_start_and_close_work_without_a_with_block() -> None:
    server = Server()
    assert server.start() is server
    assert_echoes(server)
    server.close()
    server.close()
    with pytest.raises(halloo.Refused):
        connect(server.address)
    assert server.snapshot().received_bytes == 5


def test_a_server_works_in_an_async_with_block() -> None:
    async def main() -> halloo.Address:
        async with Server() as server:
            await asyncio.to_thread(assert_echoes, server)
            return server.address

    with pytest.raises(halloo.Refused):
        connect(asyncio.run(main()))


def test_a_server_closes_when_its_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), Server() as server:
        raise ZeroDivisionError
    with pytest.raises(halloo.Refused):
        connect(server.address)


def test_using_a_server_before_start_is_a_usage_error_but_close_is_not() -> None:
    server = Server()
    uses: tuple[Callable[[], object], ...] = (
        *(lambda: server.address, lambda: server.addresses, lambda: server.fingerprint, lambda: server.ca_pem),
        *(server.client_context, server.snapshot),
    )
    for use in uses:
        with pytest.raises(halloo.UsageError, match="has not been started; use it in a with block, or call start"):
            use()
    server.close()


def test_a_server_cannot_be_started_twice() -> None:
    with Server() as server, pytest.raises(halloo.UsageError, match="has been started before; make another Server"):
        server.start()
    with pytest.raises(halloo.UsageError, match="has been started before"):
        server.start()


def test_a_server_that_failed_to_start_may_be_started_later() -> None:
    with halloo.listen("127.0.0.1:0") as listener:
        server = Server(listener.address)
        with pytest.raises(halloo.AddressInUse):
            server.start()
    with server:
        assert_echoes(server)


def test_several_servers_are_independent() -> None:
    with Server(respond=bytes.upper) as one, Server() as other, connect(one.address) as client:
        client.send(b"hello\n")
        assert client.receive_line(timeout=TIMEOUT) == b"HELLO\n"
        assert_echoes(other)


def test_close_answers_data_already_sent() -> None:
    size = 4 << 20
    with Server(drain=TIMEOUT) as server, connect(server.address) as client, ThreadPoolExecutor(2) as pool:
        sending = pool.submit(client.send, bytes(size), timeout=TIMEOUT)
        client.receive_exactly(1, timeout=TIMEOUT)
        closing = pool.submit(server.close)
        assert client.receive_exactly(size - 1, timeout=TIMEOUT) == bytes(size - 1)
        sending.result()
        client.close()
        closing.result()


def test_close_does_not_wait_for_clients_without_pending_data() -> None:
    server = Server(drain=TIMEOUT).start()
    with ExitStack() as cleanup:
        closed, *_idle = (cleanup.enter_context(connect(server.address)) for _ in range(3))
        for client in (closed, *_idle):
            client.send(b"hello")
            client.receive_exactly(5)
        closed.close()
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < TIMEOUT / 4


def test_drain_bounds_the_wait_for_a_client_that_does_not_read() -> None:
    with Server(drain=0.1) as server, connect(server.address) as client:
        with pytest.raises(halloo.TimedOut):
            client.send(bytes(64 << 20), timeout=0.1)
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < TIMEOUT / 4


# Errors in `respond`.


def fail(message: bytes) -> bytes:
    assert message == b"right", "the wrong message"
    return message


def ask(server: Server, times: int = 1) -> None:
    for _ in range(times):
        with connect(server.address, timeout=TIMEOUT) as client:
            client.send(b"wrong\n")
            client.receive()


def ask_and_divide(server: Server) -> None:
    ask(server)
    raise ZeroDivisionError


def in_block(use: Callable[[Server], None]) -> None:
    with Server(respond=fail) as server:
        use(server)


def in_async_block(use: Callable[[Server], None]) -> None:
    async def main() -> None:
        async with Server(respond=fail) as server:
            await asyncio.to_thread(use, server)

    asyncio.run(main())


each_block = pytest.mark.parametrize("block", [in_block, in_async_block])


@each_block
def test_a_failed_assertion_in_respond_is_raised_at_the_end_of_the_block(
    block: Callable[[Callable[[Server], None]], None],
) -> None:
    with pytest.raises(AssertionError, match="the wrong message"):
        block(ask)


@each_block
def test_errors_in_respond_become_notes_of_an_error_in_the_block(
    block: Callable[[Callable[[Server], None]], None],
) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        block(ask_and_divide)
    [note] = caught.value.__notes__
    assert note.startswith("respond raised an exception:\n  Traceback")
    assert "the wrong message" in note


def test_a_failed_assertion_in_respond_is_raised_by_close_and_once() -> None:
    server = Server(respond=fail).start()
    ask(server)
    with pytest.raises(AssertionError, match="the wrong message"):
        server.close()
    server.close()


def test_a_failed_assertion_for_a_datagram_is_raised_too() -> None:
    server = Server(UDP, respond=fail).start()
    with halloo.connect_udp(server.address, timeout=TIMEOUT) as client:
        client.send(b"wrong")
        client.send(b"right")
        client.receive()
    with pytest.raises(AssertionError, match="the wrong message"):
        server.close()


def test_several_errors_in_respond_are_raised_as_a_group() -> None:
    with pytest.raises(ExceptionGroup, match="respond raised several") as caught, Server(respond=fail) as server:
        ask(server, times=2)
    assert [type(error) for error in caught.value.exceptions] == [AssertionError] * 2


# Certificates.


def test_clients_can_verify_the_certificate_by_fingerprint_pem_or_context(tls_server: Server, tmp_path: Path) -> None:
    assert_echoes(tls_server, ClientTLS(fingerprint=tls_server.fingerprint))
    (tmp_path / "ca.pem").write_bytes(tls_server.ca_pem or b"")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    assert_echoes(tls_server, context)
    assert_echoes(tls_server, tls_server.client_context())
    with Server("tls://localhost:0") as other, pytest.raises(halloo.Untrusted):
        connect(other.address, tls=tls_server.client_context())


def test_ca_pem_is_the_certificate_in_the_file(folder: Path) -> None:
    with Server("tls://localhost:0", tls=ServerTLS(cert=folder / "cert.pem", key=folder / "key.pem")) as server:
        assert server.ca_pem == (folder / "cert.pem").read_bytes()
        assert_echoes(server, ClientTLS(ca=folder / "ca.pem"))


def test_a_server_without_tls_has_no_certificate() -> None:
    with Server() as server:
        assert (server.fingerprint, server.ca_pem) == (None, None)
        with pytest.raises(halloo.UsageError, match="no address is tls://"):
            server.client_context()


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_both_sides_accept_an_ssl_context(folder: Path) -> None:
    with Server("tls://localhost:0", tls=server_context(folder)) as server:
        assert_echoes(server, ssl.create_default_context(cafile=str(folder / "ca.pem")))
        assert (server.fingerprint, server.ca_pem) == (None, None)
        with pytest.raises(halloo.UsageError, match=r"certificate in an ssl\.SSLContext is not known"):
            server.client_context()


def test_a_context_for_the_other_role_is_refused(folder: Path) -> None:
    with pytest.raises(halloo.UsageError, match=r"^tls is an ssl\.SSLContext that is not for servers"):
        Server("tls://localhost:0", tls=ssl.create_default_context()).start()
    with pytest.raises(halloo.UsageError, match=r"^tls is an ssl\.SSLContext that is not for clients"):
        connect("tls://localhost:1", tls=server_context(folder))
