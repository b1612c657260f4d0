"""The server: wait for one client, print what it sends until it closes, and end.

Start it with `python server.py`, then run `python client.py` in another terminal.
Another port than 8888 is an argument: `python server.py 9999`. The calls:

socket(AF_INET, SOCK_STREAM)  makes a socket: SOCK_STREAM is TCP, AF_INET is IPv4
setsockopt(SO_REUSEADDR)      lets a restarted server use its port again at once; Windows allows that anyway, and there
                              the option would let two servers share the port
bind(("", 8888))              chooses port 8888; "" means every interface, "localhost" means this machine only
listen(1)                     opens the port: clients can connect from now on, and one may wait to be accepted
accept()                      waits for a client; returns a new socket, connected to that client, and its address
recv(1024)                    waits for bytes and returns those that have arrived, 1024 at most, so one message may need
                              several calls; it returns no bytes, b"", when the client has closed
close()                       ends the connection, or frees the port

Ctrl-C stops the server. On Windows, Ctrl-C takes effect only when the waiting call (accept or recv) returns.
"""

import os
import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
if os.name == "posix":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(("", PORT))
    s.listen(1)
    conn, address = s.accept()
    with conn:  # calls conn.close() at the end of the block, after an error too
        message = b""
        while data := conn.recv(1024):
            message += data
        # Decoded as a whole: one character may take several bytes, and arrive in two pieces.
        print("Received: ", message.decode(errors="replace"))
except KeyboardInterrupt:
    pass
finally:
    s.close()
