"""Endpoints: what each socket of a server is served by."""

import socket

import pytest

from halloo._server.counters import SCHEMES
from halloo._server.endpoint import Endpoint, with_timestamps
from halloo._server.timestamps import TimestampingHandler


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_the_scheme_follows_from_the_socket_and_the_context() -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix, socket.socket(type=socket.SOCK_DGRAM) as udp:
        assert [SCHEMES[Endpoint(sock).scheme] for sock in (tcp, unix)] == ["tcp", "unix"]
        assert [Endpoint(sock).stream for sock in (tcp, unix, udp)] == [True, True, False]


def test_with_timestamps_streams_get_a_handler_and_datagrams_a_timestamper() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        (stream, datagrams), poller = with_timestamps([Endpoint(tcp, address="a"), Endpoint(udp)])
        poller.close()
    assert isinstance(stream.handler, TimestampingHandler)
    assert (stream.address, stream.timestamper, datagrams.handler) == ("a", None, None)
    assert datagrams.timestamper
