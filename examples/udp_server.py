"""The UDP server: send every datagram back to where it came from, until Ctrl-C.

Start it with `python udp_server.py`, and then `python udp_client.py` in another terminal.
Another port than 8888 is an argument: `python udp_server.py 9999`. What the calls mean:

socket(AF_INET, SOCK_DGRAM)  makes a socket for UDP over IPv4
bind(("", 8888))             asks for port 8888; "" means every interface, "localhost" would serve this machine only
recvfrom(65535)              waits for a datagram and returns its bytes and the address of its sender; 65535 is as long
                             as one can be, and what did not fit would be lost; an empty one is a datagram like any
                             other, and not an end: without a connection there is nothing to close
sendto(data, address)        sends one datagram to this address
close()                      gives the port back; leaving the `with` block calls it

Anybody can write a false sender's address into a datagram: do not leave this server open to the whole internet.
"""

import select
import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888


def ready(s: socket.socket) -> socket.socket:
    """Return the socket as soon as there is something to receive."""
    # Waiting in steps of half a second: on Windows, Ctrl-C is seen only between two of them.
    while not select.select([s], [], [], 0.5)[0]:
        pass
    return s


try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", PORT))
        while True:
            try:
                data, address = ready(s).recvfrom(65535)
                s.sendto(data, address)
                print("Received", data, "from", address, flush=True)
            except OSError as error:  # a client that is gone (Windows says "reset" here) must not end the server
                print("Not echoed:", error, flush=True)
except KeyboardInterrupt:
    pass
