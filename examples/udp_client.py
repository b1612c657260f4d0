"""The UDP client: send "Hello world" in a datagram, and print the one that comes back.

Start `python udp_server.py` first, and then `python udp_client.py` in another terminal; the host and the port are
arguments: `python udp_client.py localhost 9999`. What the calls mean:

socket(AF_INET, SOCK_DGRAM)  makes a socket for UDP over IPv4
settimeout(1)                waits no longer than a second for anything: a datagram may be lost, and nobody is told
sendto(data, (host, port))   sends one datagram; there is no connection, so each one carries its address
recvfrom(65535)              waits for a datagram; returns its bytes, always whole, and the address of its sender
close()                      gives the port back; leaving the `with` block calls it
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
except (TimeoutError, ConnectionResetError):  # Windows says "reset" if nothing listens there
    sys.exit(f"Nothing came back from port {PORT} of {HOST}; is the server running?")
except KeyboardInterrupt:
    pass
