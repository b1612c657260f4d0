"""The client: connect to the server on this machine, send it "Hello world" and close.

Start the server first with `python server.py`, then run `python client.py` in another terminal.
Another port than 8888 is an argument: `python client.py 9999`. The calls:

socket(AF_INET, SOCK_STREAM)  makes a socket: SOCK_STREAM is TCP, AF_INET is IPv4
connect((host, port))         connects it to the server that listens there; "localhost" is this machine
send(b"...")                  sends bytes (not text, hence the b) and returns how many it sent: a short message goes at
                              once, of a long one perhaps only a part; `sendall` repeats `send` until all are sent
close()                       ends the connection after everything that was sent
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 8888

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("localhost", PORT))
s.send(b"Hello world")
s.close()
