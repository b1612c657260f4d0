"""The client: connect to the server on this machine, send it "Hello world" and close.

Start the server first, `python server.py`, and then `python client.py` in another terminal.
Another port than 8888 is an argument: `python client.py 9999`. What the calls mean:

create_connection((host, port))  makes a socket and connects it to the server that listens there; "localhost" is this
                                 machine, and may have several addresses: each is tried until one answers
sendall(b"...")                  sends all of the bytes (`send` may send only some of them); a socket carries bytes,
                                 not text, therefore the b
close()                          ends the connection after everything that was sent; leaving the `with` block calls it
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888

with socket.create_connection(("localhost", PORT)) as s:
    s.sendall(b"Hello world")
