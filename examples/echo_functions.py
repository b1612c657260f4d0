"""The echo client and the echo server as two functions, for other programs to call or to run as either side.

Start `python echo_functions.py server` first, then run `python echo_functions.py client localhost` in another terminal.
The calls are those of echoclient.py and echoserver.py, and one more:

create_server(("", 8888), backlog=1)  is socket, setsockopt, bind and listen in one

On Windows, Ctrl-C takes effect only when the waiting call (accept or recv) returns.
"""

import socket
import sys


def client(host: str, port: int) -> None:
    """Send each line that is typed, and print what the server sends back; a blank line ends it."""
    with socket.create_connection((host, port)) as s:
        while line := input("Send:"):
            message = line.encode()
            s.sendall(message)
            reply = b""
            while len(reply) < len(message) and (data := s.recv(1024)):
                reply += data
            print("Received", repr(reply.decode(errors="replace")), flush=True)
            if len(reply) < len(message):
                raise ConnectionError("The server closed the connection.")


def server(s: socket.socket) -> None:
    """Accept one client on the listening socket, and echo what it sends until it closes."""
    conn, address = s.accept()
    with conn:
        print("Connected by", address, flush=True)
        while data := conn.recv(1024):
            conn.sendall(data)


def main(*arguments: str) -> None:
    """Run as the side that the first argument names."""
    match arguments:
        case ["client", host, *port]:
            client(host, int(port[0]) if port else 8888)
        case ["server", *port]:
            with socket.create_server(("", int(port[0]) if port else 8888), backlog=1) as s:
                server(s)
        case _:
            print("usage: python echo_functions.py server [PORT] | client HOST [PORT]", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (EOFError, KeyboardInterrupt):
        print()
    except UnicodeError:
        sys.exit("The line is not valid text, and was not sent.")
    except ConnectionError as error:
        sys.exit(str(error))
