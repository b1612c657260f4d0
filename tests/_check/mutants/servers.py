"""Echo servers with one mistake each, as changes of a correct one, and the cases that they fail."""

from collections.abc import Mapping
from functools import partial

from tests._check.programs import Mutant

LISTEN = 'socket.create_server(("127.0.0.1", port), backlog=4096)'
ACCEPTED = "conn, _ = self.listener.accept()"
START = "threading.Thread(target=self.handle, args=(conn,), daemon=True).start()"
CONN = "with conn, suppress(OSError):"
LOOP = "while data := conn.recv(BUFFER):"
REPLY = "conn.sendall(data)"
ECHO = f"{LOOP}\n    self.last_received[conn] = time.monotonic()\n    {REPLY}"
SEND = "rest = data[sock.send(data) :]"

event_loop = partial(Mutant, program="reference")


def slots(number: int) -> Mapping[str, str]:
    """Serve so many clients at once; the others wait."""
    return {"class Server:": f"slots = threading.Semaphore({number})\nclass Server:", CONN: f"with slots, {CONN[5:]}"}


WITH_THREADS = (
    Mutant("exits if getpeername() fails after accept()", {START: f"conn.getpeername()\n{START}"}, "T20: accept-error"),
    Mutant(
        "closes at SIGTERM while the client is sending",
        {
            "deadline = time.monotonic() + DRAIN_TIME": """\
deadline = 0
for conn in list(self.last_received):
    with suppress(OSError):
        conn.shutdown(socket.SHUT_WR)
        conn.close()"""
        },
        "T34: no-drain",
    ),
    Mutant("decodes each piece as UTF-8", {REPLY: "conn.sendall(data.decode().encode())"}, "T04: decoded"),
    # In the other cases the end of the stream arrives with the last bytes or while the server is sending.
    Mutant(
        "drops what is not written yet at the end of the stream",
        {
            LOOP: f'held, poll = b"", select.poll()\npoll.register(conn, select.POLLIN)\n{LOOP}',
            REPLY: """\
conn.sendall(held)
held = data
if not poll.poll(2):
    conn.sendall(held)
    held = b\"\"""",
        },
        "T09 T11 T12 T17 T33 T49 T50: closed-early",
        perhaps="T08",
    ),
    Mutant(
        "serves its first client, and exits",
        {START: f"{START}\nwhile self.last_received:\n    self.never_set.wait(0.01)\nreturn"},
        "T35: exits-after-first",
    ),
    Mutant(
        "exits if shutdown() fails after a reset",
        {ECHO: f"{ECHO}\ntry:\n    conn.shutdown(socket.SHUT_WR)\nexcept OSError:\n    os._exit(1)"},
        "T48: error-ends-server",
    ),
    Mutant(
        "exits at a reset",
        {CONN: "with conn:", "finally:": "except OSError:\n    os._exit(1)\nfinally:"},
        "T18 T19 T20 T22: error-ends-server",
    ),
    Mutant("exits if accept() fails", {"except OSError:": "except BlockingIOError:"}, "T29: accept-error"),
    Mutant("has a backlog of five", {"backlog=4096": "backlog=5"}, "T24: short-backlog"),
    Mutant("has a backlog of one", {"backlog=4096": "backlog=1"}, "T24: short-backlog"),
    Mutant("has a pool of 600 threads", slots(600), "T39 T40"),
    Mutant("serves 100 clients at once, as `ncat` does", slots(100), "T23 T24: pool-limit"),
    Mutant("serves one client after another", slots(1), "T14: one-client-at-a-time"),
    Mutant("ignores the result of a blocking send()", {REPLY: "conn.send(data)"}, "T33: send-ignored"),
    Mutant(
        "does not close connections",
        {CONN: "kept.append(conn)\nwith suppress(OSError):", ECHO: f"{ECHO}\nconn.shutdown(socket.SHUT_RDWR)"},
        "T21: not-closed-at-eof",
    ),
    Mutant(
        "does not close after an error",
        {CONN: "kept.append(conn)\nwith suppress(OSError):", ECHO: f"{ECHO}\nconn.close()"},
        "T22: not-closed-after-error",
    ),
    Mutant(
        "never reaps its processes",
        {
            START: """\
if os.fork() == 0:
    self.listener.close()
    with suppress(Stop):
        self.handle(conn)
    os._exit(0)
del self.last_received[conn]
conn.close()"""
        },
        "T21: not-reaped",
    ),
    # Bytes of a closed client may be sent to the next one.
    Mutant(
        "replies to the latest client",
        {START: f"self.latest = conn\n{START}", REPLY: "self.latest.sendall(data)"},
        "T13: shared-state",
        perhaps="T18 T19 T20 T22",
    ),
    Mutant(
        "keeps connections open at the end of the stream",
        {ECHO: f"{ECHO}\nkept.append(conn.dup())"},
        "T09 T10: not-closed-at-eof",
    ),
    Mutant(
        "never reuses the slots of its table",
        {ACCEPTED: f'kept.append(len(kept))\nif kept[-1] == 4096:\n    sys.exit("too many clients")\n{ACCEPTED}'},
        "T51",
    ),
    Mutant(
        "does not set SO_REUSEADDR",
        {LISTEN: 'socket.socket()\nself.listener.bind(("127.0.0.1", port))\nself.listener.listen(4096)'},
        "T28: no-reuseaddr",
    ),
    Mutant(
        "prints each message",
        {REPLY: f'print(f"{{len(data)}} bytes from {{conn.getpeername()}}", flush=True)\n{REPLY}'},
        "T46 T47: prints-each-message",
    ),
    Mutant(
        "has no handler for SIGINT", {"(signal.SIGINT, signal.SIGTERM)": "(signal.SIGTERM,)"}, "T44: ctrl-c-traceback"
    ),
    Mutant(
        "queues without limit",
        {
            "class Server:": "from concurrent.futures import ThreadPoolExecutor\nclass Server:",
            CONN: "with conn, ThreadPoolExecutor(1) as writer, suppress(OSError):",
            REPLY: "writer.submit(conn.sendall, data)",
        },
        "T16: unbounded-buffer",
    ),
    Mutant(
        "reads little, with Nagle's algorithm",
        {"TCP_NODELAY, 1": "TCP_NODELAY, 0", "BUFFER = 64 * 1024": "BUFFER = 1024"},
        "T26: nagle",
    ),
    Mutant("receives once", {LOOP: f"if {LOOP[6:]}"}, "T01 T02 T03 T04 T05 T06 T07 T08: one-recv"),
    Mutant("sets SO_REUSEPORT", {"backlog=4096": "backlog=4096, reuse_port=True"}, "T43: shared-port"),
    Mutant("retries a failed accept() at once", {"self.never_set.wait(0.1)": "pass"}, warns="T29"),
    Mutant("exits at SIGTERM", {"echo.drain()": "pass"}, "T34: no-drain"),
    Mutant(
        "strips lines",
        {
            ECHO: """\
rest = b""
while data := conn.recv(BUFFER):
    self.last_received[conn] = time.monotonic()
    *lines, rest = (rest + data).split(b"\\n")
    conn.sendall(b"".join(line.strip() + b"\\n" for line in lines))
conn.sendall(rest.strip())"""
        },
        "T03 T04: stripped",
        perhaps="T40",  # its work on each of a thousand clients' lines starves new ones
    ),
    Mutant(
        "waits for the end of a line",
        {
            ECHO: """\
rest = b""
while data := conn.recv(BUFFER):
    self.last_received[conn] = time.monotonic()
    lines, newline, rest = (rest + data).rpartition(b"\\n")
    conn.sendall(lines + newline)
conn.sendall(rest)"""
        },
        "T03: readline",
    ),
)
WITH_AN_EVENT_LOOP = (
    event_loop(
        "blocks until one client has received everything",
        {SEND: 'sock.setblocking(True)\nsock.sendall(data)\nsock.setblocking(False)\nrest = b""'},
        "T15: loop-blocked",
    ),
    event_loop(
        "polls without waiting",
        {"self.poll.poll(0.1 if resuming else timeout)": "self.poll.poll(0)"},
        "T36 T37: busy-loop",
        warns="T29",
    ),
    # In T08 and T41 clients read while they write, so that there may be room for everything.
    event_loop(
        "ignores the result of a non-blocking send()",
        {
            SEND: 'sock.send(data)\nrest = b""',
            "except BlockingIOError:\n    rest = data": 'except BlockingIOError:\n    rest = b""',
        },
        "T11 T16 T17 T33: send-ignored",
        perhaps="T08 T41",
    ),
    event_loop(
        "sleeps in its loop",
        {
            "class EchoServer:": "class EchoServer:\n    echoed = 0",
            SEND: """\
self.echoed += len(data)
if self.echoed >= 8 << 20:
    self.echoed = 0
    select.select([], [], [], 0.1)
rest = data[sock.send(data) :]""",
        },
        "T41: loop-blocked",
    ),
    event_loop(
        "polls for a half-close while bytes are pending",
        {"EPOLLOUT if rest": "EPOLLOUT | select.EPOLLRDHUP if rest"},
        "T37: busy-loop",
    ),
)
MUTANTS = (*WITH_THREADS, *WITH_AN_EVENT_LOOP)
