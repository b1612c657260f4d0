"""Programs to be checked, each a line or two of Python: `python(CODE)` is the command.

Knows the standard library alone. They listen, and do nothing else, unless they say so.
"""

import sys

LISTEN = """
import os, signal, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
"""
WAIT = "signal.pause()\n"
ECHO = (
    LISTEN
    + """
while True:
    conn, peer = s.accept()
    with conn:
        while data := conn.recv(65536):
            conn.sendall(data)
"""
)


def python(code: str, *words: str) -> tuple[str, ...]:
    """Give the command that runs the code, `PORT` being its first argument unless others are given."""
    return (sys.executable, "-IS", "-c", code, *(words or ("PORT",)))
