"""The UDP client: send "Hello world" in a datagram, and print the one that comes back.

Start `python udp_server.py` first, then run `python udp_client.py` in another terminal; the host and the port are
arguments: `python udp_client.py localhost 9999`. The calls:

socket(AF_INET, SOCK_DGRAM)  makes a socket: SOCK_DGRAM is UDP, AF_INET is IPv4
settimeout(1)                limits each call to one second of waiting: a lost datagram is not reported
sendto(data, (host, port))   sends one datagram; there is no connection, so each one carries its address
recvfrom(65535)              waits for a datagram; returns its bytes, always whole, and the address of its sender
close()                      frees the port; leaving the `with` block calls it
"""

import socket
import sys

HOST = sys.argv[1] if sys.argv[1:] else "localhost"
PORT = int(sys.argv[2]) if sys.argv[2:] else 8888

try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(b"Hello world", (HOST, PORT))
        data, address = s.recvfrom(65535)
        print("Received", repr(data.decode(errors="replace")))
except (TimeoutError, ConnectionResetError):  # Windows raises the second one if nothing listens on the port
    sys.exit(f"No reply from port {PORT} of {HOST}; is the server running?")
except KeyboardInterrupt:
    pass
