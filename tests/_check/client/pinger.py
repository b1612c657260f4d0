"""The UDP pinger of many courses: `python pinger.py HOST PORT` sends ten pings and waits a second for each reply."""

import socket
import sys
import time

PINGS = 10


class Pinger:
    """Sends ten pings; each may be lost."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port

    def ping(self, sock: socket.socket, number: int) -> None:
        started = time.perf_counter()
        sock.sendto(f"Ping {number} {started}".encode(), self.address)
        try:
            data, sender = sock.recvfrom(65535)
            while data.split()[1:2] != [str(number).encode()]:  # late reply to an earlier ping
                data, sender = sock.recvfrom(65535)
        except TimeoutError:
            self.lost()
        else:
            print(
                f"{len(data)} bytes from {sender[0]}: seq={number} rtt={(time.perf_counter() - started) * 1000:.3f} ms"
            )

    def lost(self) -> None:
        print("Request timed out")

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for number in range(1, PINGS + 1):
                self.ping(sock, number)


def main(kind: type[Pinger]) -> None:
    kind(sys.argv[1], int(sys.argv[2])).run()


if __name__ == "__main__":
    main(Pinger)
