"""Show the pair at work in one terminal: a server, a client, and what went between them.

Knows the public functions only: it is what a reader would write.
"""

from dataclasses import dataclass

from halloo._core.units import show_size
from halloo._net.connector import connect
from halloo._net.duplex import duplex
from halloo._server.serve import serving

LINES = ("Hello world", "héllo, wörld", "a longer line: " + "la " * 20)
BULK = bytes(range(256)) * 4096


@dataclass(frozen=True, slots=True)
class DemoReport:
    """How many messages came back as they went."""

    messages: int
    identical: int


def demo() -> DemoReport:
    """Start a server, talk to it as a client would, and print both sides."""
    identical = 0
    with serving() as server:
        print(f"server: listening on {server.address}")
        with connect(server.address) as connection:
            print(f"client: connected to {connection.address}")
            for line in LINES:
                data = line.encode()
                connection.send(data)
                answer = connection.receive_exactly(len(data))
                identical += answer == data
                print(f"client: Send:{line}")
                print(f"client: Received {answer.decode()!r}")
            back: list[bytes] = []
            duplex(connection, [BULK], back.append, timeout=5)
            whole = b"".join(back) == BULK
            identical += whole
            came = "all of it" if whole else f"{sum(map(len, back))} bytes"
            print(f"client: sent {show_size(len(BULK))} of every byte there is, and its end; {came} came back")
        seen = server.snapshot()
        print(f"server: {seen.accepted} client, {seen.received_bytes} bytes in, {seen.sent_bytes} bytes out")
    messages = len(LINES) + 1
    print(f"{identical} of {messages} messages came back as they went")
    return DemoReport(messages, identical)
