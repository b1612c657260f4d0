"""The echo client again, prepared for what can go wrong: each failure is a sentence instead of a traceback.

Start `python echoserver.py` first, and then `python echoclient_safe.py localhost` in another terminal. What is new:

create_connection(..., timeout)  no call on this socket waits longer than so many seconds: then it raises TimeoutError
                                 (on Windows it is also then that Ctrl-C is seen)
ConnectionRefusedError           the host answered that nothing listens on this port
gaierror                         the name has no address ("get address info" failed)
ConnectionError                  the server broke the connection off: reset, as it is called, or aborted
OSError                          the root of all of these, and of what else a network may do; it comes last, because
                                 the first `except` that fits is taken
"""

import socket
import sys

if not sys.argv[1:]:
    print("usage: python echoclient_safe.py HOST [PORT [SECONDS]]", file=sys.stderr)
    sys.exit(2)

HOST = sys.argv[1]
PORT = sys.argv[2] if sys.argv[2:] else "8888"
SECONDS = sys.argv[3] if sys.argv[3:] else "5"

try:
    with socket.create_connection((HOST, int(PORT)), timeout=float(SECONDS)) as s:
        while line := input("Send:"):
            message = line.encode()
            s.sendall(message)
            reply = bytearray()
            while len(reply) < len(message) and (data := s.recv(1024)):
                reply += data
            print("Received", repr(reply.decode(errors="replace")), flush=True)
            if len(reply) < len(message):
                sys.exit("The server closed the connection before the whole echo was back.")
except (EOFError, KeyboardInterrupt):
    print()
except ConnectionRefusedError:
    sys.exit(f"Nothing listens on port {PORT} of {HOST}; is the server running?")
except socket.gaierror:
    sys.exit(f"No host is known by the name {HOST}; is it spelt right?")
except TimeoutError:
    sys.exit(f"{HOST} did not answer within {SECONDS} seconds.")
except ConnectionError:
    sys.exit(f"{HOST} broke the connection off.")
except OSError as error:
    sys.exit(f"{HOST} cannot be reached: {error}.")
except (OverflowError, ValueError) as error:
    sys.exit(f"That does not work: {error}.")
