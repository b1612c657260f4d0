"""Echo servers with one mistake each, as changes of a correct one, and the cases that they fail."""

from collections.abc import Mapping

from tests._check.programs import Mutant

ACCEPT = "a failing accept() ends the server, or spins"
BUSY = "the program polls in a busy loop"
CLOSED_EARLY = "the connection is closed before everything was sent"
CLOSED_UNREAD = "the connection is closed with bytes unread"
ERROR_ENDS = "one client's error ends the server"
IGNORED_SEND = "the result of send() is ignored"
LINES = "lines are expected, stripped or added"
NEVER_CLOSED = "the connection is not closed when the client has finished"
SLOTS = "a pool limits the number of clients"
WAITS = "waiting for one client blocks the event loop"

LISTEN = 'socket.create_server(("127.0.0.1", port), backlog=4096)'
ACCEPTED = "conn, _ = self.listener.accept()"
START = "threading.Thread(target=self.handle, args=(conn,), daemon=True).start()"
CONN = "with conn, suppress(OSError):"
LOOP = "while data := conn.recv(BUFFER):"
REPLY = "conn.sendall(data)"
ECHO = f"{LOOP}\n    self.last_received[conn] = time.monotonic()\n    {REPLY}"
SEND = "rest = data[sock.send(data) :]"


def slots(number: int) -> Mapping[str, str]:
    """Serve so many clients at once; the others wait."""
    return {"class Server:": f"slots = threading.Semaphore({number})\nclass Server:", CONN: f"with slots, {CONN[5:]}"}


WITH_THREADS = (
    Mutant(
        "calls getpeername() after accept(), and exits if the client has already reset the connection",
        {START: f"conn.getpeername()\n{START}"},
        "T20",
        ACCEPT,
    ),
    Mutant(
        "shuts down and closes at SIGTERM while the client is still sending, which is a reset",
        {
            "deadline = time.monotonic() + DRAIN_TIME": """\
deadline = 0
for conn in list(self.last_received):
    with suppress(OSError):
        conn.shutdown(socket.SHUT_WR)
        conn.close()"""
        },
        "T34",
        CLOSED_UNREAD,
    ),
    Mutant(
        "decodes each piece as UTF-8, and encodes it again",
        {REPLY: "conn.sendall(data.decode().encode())"},
        "T04",
        "bytes are decoded before they are echoed",
    ),
    # In the other cases the end of the stream arrives with the last bytes or while the server is sending.
    Mutant(
        "writes a little later than it reads, and at the end of the stream drops the bytes not written yet",
        {
            LOOP: f'held, poll = b"", select.poll()\npoll.register(conn, select.POLLIN)\n{LOOP}',
            REPLY: """\
conn.sendall(held)
held = data
if not poll.poll(2):
    conn.sendall(held)
    held = b\"\"""",
        },
        "T09 T11 T12 T17 T33 T49 T50",
        CLOSED_EARLY,
        perhaps="T08",
    ),
    Mutant(
        "serves its first client, and exits",
        {START: f"{START}\nwhile self.last_received:\n    self.never_set.wait(0.01)\nreturn"},
        "T35",
        "the server exits after its first client",
    ),
    Mutant(
        "calls shutdown() at the end of the stream, and exits if the client has reset the connection meanwhile",
        {ECHO: f"{ECHO}\ntry:\n    conn.shutdown(socket.SHUT_WR)\nexcept OSError:\n    os._exit(1)"},
        "T48",
        ERROR_ENDS,
    ),
    Mutant(
        "catches no errors: one client's reset ends the server",
        {CONN: "with conn:", "finally:": "except OSError:\n    os._exit(1)\nfinally:"},
        "T18 T19 T20 T22",
        ERROR_ENDS,
    ),
    Mutant(
        "does not handle errors of accept(): out of descriptors, it exits",
        {"except OSError:": "except BlockingIOError:"},
        "T29",
        ACCEPT,
    ),
    Mutant(
        "has a backlog of five: in a burst, most clients have to resend their SYN after a second",
        {"backlog=4096": "backlog=5"},
        "T24",
        "the accept queue is short",
    ),
    Mutant("has a pool of 600 threads; each connection occupies one", slots(600), "T39 T40", SLOTS),
    Mutant("serves at most 100 clients at once, as `ncat --keep-open` does", slots(100), "T23 T24", SLOTS),
    Mutant("serves a client to the end before it starts with the next one", slots(1), "T14", "one client at a time"),
    Mutant(
        "ignores the result of a blocking send(), which is partial after SIGSTOP and SIGCONT",
        {REPLY: "conn.send(data)"},
        "T33",
        IGNORED_SEND,
    ),
    Mutant(
        "shuts connections down without closing them",
        {CONN: "kept.append(conn)\nwith suppress(OSError):", ECHO: f"{ECHO}\nconn.shutdown(socket.SHUT_RDWR)"},
        "T21",
        NEVER_CLOSED,
    ),
    Mutant(
        "closes a connection at the end of the stream, but not after an error",
        {CONN: "kept.append(conn)\nwith suppress(OSError):", ECHO: f"{ECHO}\nconn.close()"},
        "T22",
        "a connection is not closed after an error",
    ),
    Mutant(
        "starts a process for each client, and never reaps it",
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
        "T21",
        "an exited child process is not reaped",
    ),
    # Bytes of a closed client may be sent to the next one.
    Mutant(
        "keeps the client in a variable of the server, and replies to the latest one",
        {START: f"self.latest = conn\n{START}", REPLY: "self.latest.sendall(data)"},
        "T13",
        "state of one client is shared by all",
        perhaps="T18 T19 T20 T22",
    ),
    Mutant(
        "stops reading at the end of the stream, and does not close the connection",
        {ECHO: f"{ECHO}\nkept.append(conn.dup())"},
        "T09 T10",
        NEVER_CLOSED,
    ),
    Mutant(
        "has a table of 4096 clients, and never reuses a slot",
        {ACCEPTED: f'kept.append(len(kept))\nif kept[-1] == 4096:\n    sys.exit("too many clients")\n{ACCEPTED}'},
        "T51",
    ),
    Mutant(
        "does not set SO_REUSEADDR: its port cannot be bound again for a minute",
        {LISTEN: 'socket.socket()\nself.listener.bind(("127.0.0.1", port))\nself.listener.listen(4096)'},
        "T28",
        "the port cannot be bound again after a restart",
    ),
    Mutant(
        "prints a line for each message",
        {REPLY: f'print(f"{{len(data)}} bytes from {{conn.getpeername()}}", flush=True)\n{REPLY}'},
        "T46 T47",
        "each message is printed",
    ),
    Mutant(
        "has no handler for SIGINT: Ctrl-C ends in a traceback",
        {"(signal.SIGINT, signal.SIGTERM)": "(signal.SIGTERM,)"},
        "T44",
        "Ctrl-C ends in a traceback",
    ),
    Mutant(
        "reads without limit, and queues all bytes to be written",
        {
            "class Server:": "from concurrent.futures import ThreadPoolExecutor\nclass Server:",
            CONN: "with conn, ThreadPoolExecutor(1) as writer, suppress(OSError):",
            REPLY: "writer.submit(conn.sendall, data)",
        },
        "T16",
        "output is buffered without a limit",
    ),
    Mutant(
        "receives 1024 bytes at a time with Nagle's algorithm: the second piece waits for an acknowledgement",
        {"TCP_NODELAY, 1": "TCP_NODELAY, 0", "BUFFER = 64 * 1024": "BUFFER = 1024"},
        "T26",
        "small writes wait for the peer's acknowledgement",
    ),
    Mutant(
        "receives once and sends once, as if one recv() were one message",
        {LOOP: f"if {LOOP[6:]}"},
        "T01 T02 T03 T04 T05 T06 T07 T08",
        "one recv() is taken for one message",
    ),
    Mutant(
        "sets SO_REUSEPORT: a second copy starts without an error, and gets half of the clients",
        {"backlog=4096": "backlog=4096, reuse_port=True"},
        "T43",
        "two servers share the port",
    ),
    Mutant(
        "retries a failed accept() at once: out of descriptors, it spins",
        {"self.never_set.wait(0.1)": "pass"},
        warns="T29",
    ),
    Mutant("exits at SIGTERM, and drops bytes in flight", {"echo.drain()": "pass"}, "T34", CLOSED_UNREAD),
    Mutant(
        "reads lines, strips them, and sends them with a newline",
        {
            ECHO: """\
rest = b""
while data := conn.recv(BUFFER):
    self.last_received[conn] = time.monotonic()
    *lines, rest = (rest + data).split(b"\\n")
    conn.sendall(b"".join(line.strip() + b"\\n" for line in lines))
conn.sendall(rest.strip())"""
        },
        "T03 T04",
        LINES,
    ),
    Mutant(
        "waits for the end of a line before it echoes",
        {
            ECHO: """\
rest = b""
while data := conn.recv(BUFFER):
    self.last_received[conn] = time.monotonic()
    lines, newline, rest = (rest + data).rpartition(b"\\n")
    conn.sendall(lines + newline)
conn.sendall(rest)"""
        },
        "T03",
        LINES,
    ),
)
WITH_AN_EVENT_LOOP = (
    Mutant(
        "blocks until one client has received everything, while all others wait",
        {SEND: 'sock.setblocking(True)\nsock.sendall(data)\nsock.setblocking(False)\nrest = b""'},
        "T15",
        WAITS,
        program="reference",
    ),
    Mutant(
        "polls in a busy loop, without waiting",
        {"self.poll.poll(0.1 if resuming else timeout)": "self.poll.poll(0)"},
        "T36 T37",
        BUSY,
        program="reference",
    ),
    # In T08 and T41 clients read while they write, so that there may be room for everything.
    Mutant(
        "ignores the result of a non-blocking send(): bytes that do not fit into the buffer are lost",
        {
            SEND: 'sock.send(data)\nrest = b""',
            "except BlockingIOError:\n    rest = data": 'except BlockingIOError:\n    rest = b""',
        },
        "T11 T16 T17 T33",
        IGNORED_SEND,
        perhaps="T08 T41",
        program="reference",
    ),
    Mutant(
        "limits its rate by sleeping in the loop that serves all clients",
        {
            "class EchoServer:": "class EchoServer:\n    echoed = 0",
            SEND: """\
self.echoed += len(data)
if self.echoed >= 8 << 20:
    self.echoed = 0
    select.select([], [], [], 0.1)
rest = data[sock.send(data) :]""",
        },
        "T41",
        WAITS,
        program="reference",
    ),
    Mutant(
        "polls for a half-close while bytes are pending: the event stays ready, and the loop spins",
        {"EPOLLOUT if rest": "EPOLLOUT | select.EPOLLRDHUP if rest"},
        "T37",
        BUSY,
        program="reference",
    ),
)
MUTANTS = (*WITH_THREADS, *WITH_AN_EVENT_LOOP)
