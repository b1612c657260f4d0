"""The echo client: send each line that is typed, and print what the server sends back.

Start `python echoserver.py` first, and then `python echoclient.py localhost` in another terminal.
A blank line ends it; so do Ctrl-C and the end of the input. What the calls mean:

create_connection((host, port))  makes a socket and connects it to the server that listens there
sendall(data)                    sends all of the bytes; text is turned into bytes by `encode`
recv(1024)                       waits for bytes and returns those that are there, 1024 at most: the echo may come in
                                 several pieces, so receive until as many bytes are back as were sent; no bytes at
                                 all, b"", mean that the server has closed
close()                          ends the connection; leaving the `with` block calls it

It sends the whole line before it receives, which is enough for what people type; a line of megabytes would need both
at once. Without a server it ends in a traceback: echoclient_safe.py shows how to say it better.
"""

import select
import socket
import sys

if not sys.argv[1:]:
    print("usage: python echoclient.py HOST [PORT]", file=sys.stderr)
    sys.exit(2)

HOST = sys.argv[1]
PORT = int(sys.argv[2]) if sys.argv[2:] else 8888


def ready(s: socket.socket) -> socket.socket:
    """Return the socket as soon as there is something to receive."""
    # Waiting in steps of half a second: on Windows, Ctrl-C is seen only between two of them.
    while not select.select([s], [], [], 0.5)[0]:
        pass
    return s


try:
    with socket.create_connection((HOST, PORT)) as s:
        while line := input("Send:"):
            message = line.encode()
            s.sendall(message)
            reply = bytearray()
            while len(reply) < len(message) and (data := ready(s).recv(1024)):
                reply += data
            # Decoded as a whole: one character may take several bytes, and come in two pieces.
            print("Received", repr(reply.decode(errors="replace")), flush=True)
            if len(reply) < len(message):
                sys.exit("The server closed the connection.")
except (EOFError, KeyboardInterrupt):
    print()
