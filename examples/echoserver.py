"""The echo server: send everything that one client sends back to it, until it closes.

Start it with `python echoserver.py`, then run `python echoclient.py localhost` in another terminal.
Another port than 8888 is an argument: `python echoserver.py 9999`. The calls:

socket(AF_INET, SOCK_STREAM)  makes a socket: SOCK_STREAM is TCP, AF_INET is IPv4
setsockopt(SO_REUSEADDR)      lets a restarted server use its port again at once; Windows allows that anyway, and there
                              the option would let two servers share the port
bind(("", 8888))              chooses port 8888; "" means every interface, "localhost" means this machine only
listen(1)                     opens the port: clients can connect from now on, and one may wait to be accepted
accept()                      waits for a client; returns a new socket, connected to that client, and its address
recv(1024)                    waits for bytes and returns those that have arrived, 1024 at most; it returns no bytes,
                              b"", when the client has closed
sendall(data)                 sends all of the bytes (`send` may send only a part of them)
close()                       ends the connection, or frees the port; leaving a `with` block calls it

Ctrl-C stops the server. On Windows, Ctrl-C takes effect only when the waiting call (accept or recv) returns.
"""

import os
import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888

try:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        if os.name == "posix":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", PORT))
        s.listen(1)
        conn, address = s.accept()
        with conn:
            print("Connected by", address, flush=True)
            while data := conn.recv(1024):
                conn.sendall(data)
except KeyboardInterrupt:
    pass
except ConnectionError:
    sys.exit("The client reset the connection.")
