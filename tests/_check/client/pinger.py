"""The UDP pinger of many courses: `python pinger.py HOST PORT` sends ten pings and waits a second for each reply."""

import socket
import sys
import time

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(1)
    for number in range(1, 11):
        started = time.perf_counter()
        sock.sendto(f"Ping {number} {started}".encode(), (sys.argv[1], int(sys.argv[2])))
        try:
            data, sender = sock.recvfrom(65535)
            while data.split()[1:2] != [str(number).encode()]:  # late reply to an earlier ping
                data, sender = sock.recvfrom(65535)
        except TimeoutError:
            print("Request timed out")
        else:
            elapsed = (time.perf_counter() - started) * 1000
            print(f"{len(data)} bytes from {sender[0]}: seq={number} rtt={elapsed:.3f} ms")
