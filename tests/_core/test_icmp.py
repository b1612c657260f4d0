import struct
from ipaddress import ip_address

from halloo._core.icmp import IcmpReport, parse_report

LOCAL, ICMP, ICMP6 = 1, 2, 3  # SO_EE_ORIGIN_*, ip(7)


def extended_error(origin: int, kind: int, code: int, *, info: int = 0, sender: str = "192.0.2.1") -> bytes:
    address = ip_address(sender).packed
    place = (
        struct.pack("=HH4s8x", 2, 0, address) if len(address) == 4 else struct.pack("=HHI16sI", 10, 0, 0, address, 0)
    )
    return struct.pack("=I4B2I", 113, origin, kind, code, 0, info, 0) + place


def test_a_report_is_decoded() -> None:
    four, six = "192.0.2.1", "2001:db8::1"
    too_big = "datagram too big, the next link takes packets of {} bytes"
    for data, text, router in (
        (extended_error(ICMP, 3, 1), "host unreachable", four),
        (extended_error(ICMP, 11, 0), "time to live exceeded", four),
        (extended_error(ICMP, 3, 99), "ICMP type 3 code 99", four),
        (extended_error(ICMP, 3, 4, info=1400), too_big.format(1400), four),
        (extended_error(ICMP, 3, 4), "datagram too big", four),
        (extended_error(ICMP6, 3, 0, sender=six), "time to live exceeded", six),
        (extended_error(ICMP6, 2, 0, info=1280, sender=six), too_big.format(1280), six),
        (extended_error(ICMP, 11, 0, info=5)[:16], "time to live exceeded", "unknown"),
    ):
        report = parse_report(data)
        assert report
        assert (report.text, report.router, report.errno) == (text, router, 113)
    for no_report in (extended_error(LOCAL, 0, 0, info=1500), extended_error(ICMP, 11, 0)[:15], b""):
        assert parse_report(no_report) is None  # the first is an error of this machine


def test_a_report_has_a_name_and_a_remedy() -> None:
    assert IcmpReport(6, 1, 0, "2001:db8::1", 101).name == "NetworkUnreachable"
    assert IcmpReport(4, 3, 99, "192.0.2.1", 113).name == "ICMPType3Code99"
    assert IcmpReport(4, 3, 99, "192.0.2.1", 113).remedy == ""
    assert IcmpReport(4, 3, 1, "192.0.2.1", 113).remedy == "check that the host is up"
