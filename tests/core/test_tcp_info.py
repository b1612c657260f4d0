"""What a kernel tells of a connection, a long one or one of an older kernel."""

import socket
import struct
import sys

import pytest

from halloo.core.roundtrips import Kernel
from halloo.core.tcp_info import SIZE, kernel

PLACES = {"mss": 16, "lost": 32, "rtt": 68, "rtt_var": 72, "window": 80, "retransmits": 100, "min_rtt": 148}
UNKNOWN = 0xFFFFFFFF


def told(**values: int) -> bytes:
    """Write what a kernel tells, all else being zeros."""
    info = bytearray(SIZE)
    for name, value in values.items():
        struct.pack_into("=I", info, PLACES[name], value)
    return bytes(info)


def test_times_are_microseconds_there_and_nanoseconds_here() -> None:
    assert kernel(told(rtt=5200, rtt_var=10, min_rtt=6)) == Kernel(6_000, 5_200_000, 10_000)


def test_counts_are_read_as_they_are() -> None:
    assert kernel(told(mss=1448, lost=3, window=10, retransmits=7)) == Kernel(
        mss=1448, lost=3, window_segments=10, retransmits=7
    )


def test_a_floor_that_was_never_measured_is_not_known() -> None:
    assert kernel(told(min_rtt=UNKNOWN)).min_rtt_ns is None
    assert kernel(told()).min_rtt_ns is None


@pytest.mark.parametrize("length", range(SIZE))
def test_of_a_kernel_that_tells_less_what_is_there_is_read(length: int) -> None:
    values = {"mss": 1, "lost": 2, "rtt": 3, "rtt_var": 4, "window": 5, "retransmits": 6, "min_rtt": 7}
    there = {name for name, place in PLACES.items() if length >= place + 4}
    known = {name: value if name in there else 0 for name, value in values.items()}
    assert kernel(told(**values)[:length]) == Kernel(
        min_rtt_ns=None,
        rtt_ns=known["rtt"] * 1000 or None,
        rtt_var_ns=known["rtt_var"] * 1000 or None,
        retransmits=known["retransmits"],
        lost=known["lost"],
        window_segments=known["window"],
        mss=known["mss"],
    )


def test_a_kernel_that_tells_more_is_read_as_well() -> None:
    assert kernel(told(min_rtt=6) + bytes(100)).min_rtt_ns == 6_000


@pytest.mark.skipif(sys.platform != "linux", reason="the layout is Linux's")
def test_a_real_kernel_tells_the_round_trip_of_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        found = kernel(near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
    assert found.rtt_ns
    assert found.mss > 500
    assert found.min_rtt_ns is None or 0 < found.min_rtt_ns <= found.rtt_ns + 1_000_000
    assert (found.retransmits, found.lost) == (0, 0)
