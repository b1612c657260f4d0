"""The public Server class: the ways to start and close it, and its certificate as clients see it."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import halloo
from halloo import ClientTLS, Server, ServerTLS, connect

trustme = pytest.importorskip("trustme")

TIMEOUT = 20.0  # seconds, longer than any passing test takes


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


# Starting and closing.


def test_start_and_close_work_without_a_with_block() -> None:
    server = Server()
    assert server.start() is server
    assert_echoes(server)
    server.close()
    server.close()
    with pytest.raises(halloo.Refused):
        connect(server.address)


def test_a_server_works_in_an_async_with_block() -> None:
    async def main() -> halloo.Address:
        async with Server() as server:
            await asyncio.to_thread(assert_echoes, server)
            return server.address

    with pytest.raises(halloo.Refused):
        connect(asyncio.run(main()))


@pytest.mark.parametrize(
    "use",
    [
        lambda server: server.address,
        lambda server: server.addresses,
        lambda server: server.fingerprint,
        lambda server: server.ca_pem,
        lambda server: server.client_context(),
        lambda server: server.snapshot(),
    ],
    ids=["address", "addresses", "fingerprint", "ca_pem", "client_context", "snapshot"],
)
def test_using_a_server_before_start_is_a_usage_error(use: Callable[[Server], object]) -> None:
    with pytest.raises(halloo.UsageError, match="has not been started; use it in a with block, or call start"):
        use(Server())


def test_a_server_may_be_closed_before_start() -> None:
    Server().close()


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


def test_the_address_and_snapshot_are_available_after_close() -> None:
    with Server() as server:
        assert_echoes(server)
        address = server.address
    assert (server.address, server.snapshot().received_bytes) == (address, 5)


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


@pytest.mark.parametrize("clients", ["closed", "idle"])
def test_close_does_not_wait_for_clients_without_pending_data(clients: str) -> None:
    server = Server(drain=TIMEOUT).start()
    connected = [connect(server.address) for _ in range(3)]
    for client in connected:
        client.send(b"hello")
        client.receive_exactly(5)
        if clients == "closed":
            client.close()
    start = time.monotonic()
    server.close()
    assert time.monotonic() - start < TIMEOUT / 4
    for client in connected:
        client.close()


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


def test_a_failed_assertion_in_respond_is_raised_at_the_end_of_the_block() -> None:
    with pytest.raises(AssertionError, match="the wrong message"), Server(respond=fail) as server:
        ask(server)


def test_a_failed_assertion_in_respond_is_raised_by_close_and_once() -> None:
    server = Server(respond=fail).start()
    ask(server)
    with pytest.raises(AssertionError, match="the wrong message"):
        server.close()
    server.close()


def test_a_failed_assertion_for_a_datagram_is_raised_too() -> None:
    server = Server("udp://127.0.0.1:0", respond=fail).start()
    with halloo.connect_udp(server.address, timeout=TIMEOUT) as client:
        client.send(b"wrong")
        client.send(b"right")
        client.receive()
    with pytest.raises(AssertionError, match="the wrong message"):
        server.close()


def test_an_outcome_of_pytest_in_respond_is_raised_as_it_is() -> None:
    with (
        pytest.raises(pytest.fail.Exception, match="unexpected"),
        Server(respond=lambda _message: pytest.fail("unexpected")) as server,
    ):
        ask(server)


def test_several_errors_in_respond_are_raised_as_a_group() -> None:
    with pytest.raises(ExceptionGroup, match="respond raised several") as caught, Server(respond=fail) as server:
        ask(server, times=2)
    assert [type(error) for error in caught.value.exceptions] == [AssertionError] * 2


def test_errors_in_respond_become_notes_of_an_error_in_the_block() -> None:
    with pytest.raises(ZeroDivisionError) as caught, Server(respond=fail) as server:
        ask_and_divide(server)
    [note] = caught.value.__notes__
    assert note.startswith("respond raised an exception:\n  Traceback")
    assert "the wrong message" in note


async def ask_in_async_block(use: Callable[[Server], None]) -> None:
    async with Server(respond=fail) as server:
        await asyncio.to_thread(use, server)


def test_an_async_block_raises_the_errors_too() -> None:
    with pytest.raises(AssertionError, match="the wrong message"):
        asyncio.run(ask_in_async_block(ask))


def test_an_error_in_an_async_block_gets_the_notes_too() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(ask_in_async_block(ask_and_divide))
    assert len(caught.value.__notes__) == 1


# Certificates.


def test_clients_can_verify_the_certificate_by_its_fingerprint(tls_server: Server) -> None:
    assert_echoes(tls_server, ClientTLS(fingerprint=tls_server.fingerprint))


def test_clients_can_verify_the_certificate_by_its_pem(tls_server: Server, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(tls_server.ca_pem or b"")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    assert_echoes(tls_server, context)


def test_a_client_context_trusts_the_server_and_no_other(tls_server: Server) -> None:
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
