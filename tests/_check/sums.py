"""A protocol that is not lines of text: two numbers (struct, network order), their sum comes back."""

import struct

from halloo._check.messages import Messages

SERVER = """
import socket, struct, sys, threading
def serve(conn):
    with conn:
        while len(data := conn.recv(8, socket.MSG_WAITALL)) == 8:
            conn.sendall(struct.pack("!i", sum(struct.unpack("!ii", data))))
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    conn, _ = s.accept()
    threading.Thread(target=serve, args=(conn,), daemon=True).start()
"""
UDP_SERVER = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    data, peer = s.recvfrom(2048)
    s.sendto(struct.pack("!i", sum(struct.unpack("!ii", data))), peer)
"""
CLIENT = """
import socket, struct, sys
def receive(sock, count):
    data = b""
    while len(data) < count:
        if not (piece := sock.recv(count - len(data))):
            sys.exit("The server closed the connection.")
        data += piece
    return data
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as sock:
        while line := input("Two numbers: "):
            sock.sendall(struct.pack("!ii", *map(int, line.split())))
            print("Sum:", *struct.unpack("!i", receive(sock, 4)))
except (EOFError, KeyboardInterrupt):
    pass
except OSError as error:
    sys.exit(f"The server does not answer: {error}")
"""


def numbers(number: int) -> tuple[int, int]:
    return number + 3, 40 * number


def request(number: int) -> bytes:
    return struct.pack("!ii", *numbers(number))


def answer(data: bytes) -> bytes:
    return struct.pack("!i", sum(struct.unpack("!ii", data)))


def message(number: int) -> tuple[bytes, bytes, str]:
    return request(number), answer(request(number)), "{} {}".format(*numbers(number))


MESSAGES = Messages("tests._check.sums:message", message)
