import socket
import sys

import pytest

from halloo._core.icmp import IcmpReport
from halloo._net.error_queue import MAX_REPORTS, read_reports, request_reports
from halloo._net.readiness import until_readable
from tests.peers import unused_datagram_port

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no error queue")
TIMEOUT = 10.0  # seconds, more than any test takes


@linux
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_closed_port_is_reported_with_the_datagram(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        request_reports(sock)
        try:
            sock.connect((host, unused_datagram_port()))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        sock.setblocking(False)
        assert [*read_reports(sock)] == []
        sock.send(b"datagram")
        assert until_readable([sock], TIMEOUT)
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
        ((report, quoted),) = read_reports(sock)
    assert (report.description, report.router, quoted) == ("port unreachable", host, b"datagram")


@linux
def test_no_more_reports_are_read_than_a_turn_may_take() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request_reports(sock)
        sock.connect(("127.0.0.1", unused_datagram_port()))
        sock.setblocking(False)
        reports: list[IcmpReport] = []
        sent = 0
        while sent <= MAX_REPORTS:
            try:
                sock.send(b"datagram")
                sent += 1
            except ConnectionRefusedError:
                continue  # the report of an earlier one
        reports += [report for report, _ in read_reports(sock)]
        assert len(reports) <= MAX_REPORTS
