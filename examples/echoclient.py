"""The echo client: send each line that is typed, and print what the server sends back.

Start `python echoserver.py` first, then run `python echoclient.py localhost` in another terminal.
A blank line ends it; so do Ctrl-C and the end of the input. The calls:

create_connection((host, port))  is socket and connect, as in client.py, in one; a host may have several addresses, of
                                 IPv4 and IPv6, and it tries each until one answers
sendall(data)                    sends all of the bytes; `encode` turns text into bytes
recv(1024)                       waits for bytes and returns those that have arrived, 1024 at most: the echo may arrive
                                 in several pieces, so the client receives until it has as many bytes as it sent; recv
                                 returns no bytes, b"", when the server has closed
close()                          ends the connection; leaving the `with` block calls it

The client sends the whole line before it receives. That is enough for lines that people type; a line of megabytes
would need both at once, and a Linux terminal passes on 4095 bytes of a line at most. Without a server the client ends
in a traceback; echoclient_safe.py prints a sentence instead.
On Windows, Ctrl-C takes effect only when the waiting call (recv) returns.
"""

import socket
import sys

if not sys.argv[1:]:
    print("usage: python echoclient.py HOST [PORT]", file=sys.stderr)
    sys.exit(2)

HOST = sys.argv[1]
PORT = int(sys.argv[2]) if sys.argv[2:] else 8888

try:
    with socket.create_connection((HOST, PORT)) as s:
        while line := input("Send:"):
            message = line.encode()
            s.sendall(message)
            reply = b""
            while len(reply) < len(message) and (data := s.recv(1024)):
                reply += data
            # Decoded as a whole: one character may take several bytes, and arrive in two pieces.
            print("Received", repr(reply.decode(errors="replace")), flush=True)
            if len(reply) < len(message):
                sys.exit("The server closed the connection.")
except (EOFError, KeyboardInterrupt):
    print()
except UnicodeError:
    sys.exit("The line is not valid text, and was not sent.")
