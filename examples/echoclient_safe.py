"""The echo client again, prepared for what can go wrong: each failure is a sentence instead of a traceback.

Start `python echoserver.py` first, then run `python echoclient_safe.py localhost` in another terminal. What is new:

create_connection(..., timeout)  limits each call on this socket to so many seconds of waiting; after them it raises
                                 TimeoutError (on Windows, Ctrl-C also takes effect only then)
ConnectionRefusedError           the host answered that nothing listens on this port
gaierror                         the name has no address ("get address info" failed)
ConnectionError                  the connection was reset or aborted
OSError                          the base class of all of these and of other network errors; it comes last, because
                                 Python takes the first `except` that fits
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
            reply = b""
            while len(reply) < len(message) and (data := s.recv(1024)):
                reply += data
            print("Received", repr(reply.decode(errors="replace")), flush=True)
            if len(reply) < len(message):
                sys.exit("The server closed the connection before the whole echo arrived.")
except (EOFError, KeyboardInterrupt):
    print()
except UnicodeError:
    sys.exit("The line is not valid text, and was not sent.")
except ConnectionRefusedError:
    sys.exit(f"Nothing listens on port {PORT} of {HOST}; is the server running?")
except socket.gaierror:
    sys.exit(f"The host name {HOST} is not known; is it spelt right?")
except TimeoutError:
    sys.exit(f"{HOST} did not answer within {SECONDS} seconds.")
except ConnectionError:
    sys.exit(f"{HOST} reset the connection.")
except OSError as error:
    sys.exit(f"{HOST} cannot be reached: {error}.")
except (OverflowError, ValueError) as error:
    sys.exit(f"The port or the number of seconds is not valid: {error}.")
