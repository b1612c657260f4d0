"""The UDP pinger that many courses set: `python pinger.py HOST PORT`; ten pings, and a second for each answer."""

import socket
import sys
import time

PINGS = 10


class Pinger:
    """Ten questions, some of which are not answered."""

    def __init__(self, host: str, port: int) -> None:
        """Note where to."""
        self.place = host, port

    def ping(self, sock: socket.socket, number: int) -> None:
        """Ask, and print how long the answer took."""
        began = time.perf_counter()
        sock.sendto(f"Ping {number} {began}".encode(), self.place)
        try:
            data, sender = sock.recvfrom(65535)
            while data.split()[1:2] != [str(number).encode()]:  # of an earlier ping
                data, sender = sock.recvfrom(65535)
        except TimeoutError:
            self.lost()
        else:
            print(f"{len(data)} bytes from {sender[0]}: seq={number} rtt={(time.perf_counter() - began) * 1000:.3f} ms")

    def lost(self) -> None:
        """Say that no answer came."""
        print("Request timed out")

    def run(self) -> None:
        """Ping."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for number in range(1, PINGS + 1):
                self.ping(sock, number)


def main(kind: type[Pinger]) -> None:
    """Be a pinger of this kind."""
    kind(sys.argv[1], int(sys.argv[2])).run()


if __name__ == "__main__":
    main(Pinger)
