"""The UDP server: send every datagram back to its sender, until Ctrl-C.

Start it with `python udp_server.py`, then run `python udp_client.py` in another terminal.
Another port than 8888 is an argument: `python udp_server.py 9999`. The calls:

socket(AF_INET, SOCK_DGRAM)  makes a socket: SOCK_DGRAM is UDP, AF_INET is IPv4
bind(("", 8888))             chooses port 8888; "" means every interface, "localhost" means this machine only
recvfrom(65535)              waits for a datagram; returns its bytes and the address of its sender; no datagram is
                             longer than 65535 bytes, and bytes that do not fit are lost; an empty datagram is not an
                             end: without a connection there is nothing to close
sendto(data, address)        sends one datagram to this address
close()                      frees the port; leaving the `with` block calls it

The sender's address in a datagram may be forged: do not leave this server open to the whole Internet.
On Windows, Ctrl-C takes effect only when the waiting call (recvfrom) returns.
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888

try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", PORT))
        while True:
            try:
                data, address = s.recvfrom(65535)
                s.sendto(data, address)
                print("Received", data, "from", address, flush=True)
            except OSError as error:  # a client that has gone (reported here on Windows) must not end the server
                print("Not echoed:", error, flush=True)
except KeyboardInterrupt:
    pass
