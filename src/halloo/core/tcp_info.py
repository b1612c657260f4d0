"""Read what the kernel tells of a TCP connection (TCP_INFO; tcp(7), linux/tcp.h).

Knows bytes. Whoever has the socket asks it for SIZE of them.
"""

import struct

from halloo.core.roundtrips import Kernel

#  0           8                                   16        20 ... 32     36 ... 68    72        76 ... 80      84
#  | 8 bytes   | rto   | ato                       | mss     |      | lost |      | rtt  | rttvar  |      | cwnd  |
#  ... 100            104 ...  148        152
#      | retransmits  |        | min_rtt  |         times in microseconds
SIZE = 152
_U32 = struct.Struct("=I")
_MSS, _LOST, _RTT, _RTT_VAR, _WINDOW, _RETRANSMITS, _MIN_RTT = 16, 32, 68, 72, 80, 100, 148
_UNKNOWN = 0xFFFFFFFF
_US = 1000  # nanoseconds


def kernel(told: bytes) -> Kernel:
    """Read it; what a kernel does not tell is None or 0."""

    def number(offset: int) -> int:
        return int(_U32.unpack_from(told, offset)[0]) if len(told) >= offset + _U32.size else 0

    def time(offset: int) -> int | None:
        value = number(offset)
        return value * _US if value and value != _UNKNOWN else None

    return Kernel(
        min_rtt_ns=time(_MIN_RTT),
        rtt_ns=time(_RTT),
        rtt_var_ns=time(_RTT_VAR),
        retransmits=number(_RETRANSMITS),
        lost=number(_LOST),
        window_segments=number(_WINDOW),
        mss=number(_MSS),
    )
