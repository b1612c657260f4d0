"""Short Python programs to check; `python(CODE)` is the command.

They use only the standard library.
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
    """Return the command that runs the code; its arguments are `words`, by default `PORT`."""
    return (sys.executable, "-IS", "-c", code, *(words or ("PORT",)))
