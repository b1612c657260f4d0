"""A correct client at a terminal, as courses write it: `python typed.py HOST PORT` sends each line that is typed.

Uses the standard library only, nothing of halloo. Mutants are changes of a line or two of it.
"""

import socket
import sys


def talk(sock: socket.socket) -> None:
    while line := input("Send:"):
        message = line.encode()
        sock.sendall(message)
        reply = b""
        while len(reply) < len(message) and (data := sock.recv(1024)):
            reply += data
        print("Received", repr(reply.decode(errors="replace")), flush=True)
        if len(reply) < len(message):
            sys.exit("The server closed the connection.")


if __name__ == "__main__":
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as sock:
            talk(sock)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        print(file=sys.stderr)
    except OSError as error:
        sys.exit(f"The server does not answer: {error}")
