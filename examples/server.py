"""The server: wait for one client, print what it sends until it closes, and end.

Start it with `python server.py`, and then `python client.py` in another terminal.
Another port than 8888 is an argument: `python server.py 9999`. What the calls mean:

socket(AF_INET, SOCK_STREAM)  makes a socket, one end of a connection: SOCK_STREAM is TCP, AF_INET is IPv4
setsockopt(SO_REUSEADDR)      lets the server have its port again at once when it is started anew; on Windows that is so
                              anyway, and the option would let a second server share the port
bind(("", 8888))              asks for port 8888; "" means every interface, "localhost" would serve this machine only
listen(1)                     opens the port: clients can connect from now on, and one may wait in line
accept()                      waits for a client; returns a new socket that leads to it, and its address
recv(1024)                    waits for bytes and returns those that are there, 1024 at most, so that a message may well
                              come in several pieces; no bytes at all, b"", mean that the client has closed
close()                       ends the connection, or gives the port back; leaving a `with` block calls it
"""

import os
import select
import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888


def ready(s: socket.socket) -> socket.socket:
    """Return the socket as soon as there is something to accept or to receive."""
    # Waiting in steps of half a second: on Windows, Ctrl-C is seen only between two of them.
    while not select.select([s], [], [], 0.5)[0]:
        pass
    return s


try:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        if os.name == "posix":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", PORT))
        s.listen(1)
        conn, address = ready(s).accept()
        with conn:
            message = bytearray()
            while data := ready(conn).recv(1024):
                message += data
            # Decoded as a whole: one character may take several bytes, and come in two pieces.
            print("Received: ", message.decode(errors="replace"))
except KeyboardInterrupt:
    pass
