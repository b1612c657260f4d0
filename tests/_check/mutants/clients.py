"""Echo clients with one mistake each, as changes of a correct one, and the cases that they fail."""

from functools import partial

from tests._check.programs import Mutant

CONNECT = """\
with socket.create_connection((self.host, self.port), timeout=TIMEOUT) as sock:
    sock.settimeout(None)"""
READ = "sys.stdin.buffer.read()"
START = "threading.Thread(target=self.send, args=(sock,), daemon=True).start()"
LOOP = "while data := self.receive(sock):"
SHOW = "self.show(data)"
WAIT = """\
while not select.select([sock], [], [], max(self.last_progress + TIMEOUT - time.monotonic(), 0))[0]:
    if time.monotonic() >= self.last_progress + TIMEOUT:
        raise ClientError(f"no reply within {TIMEOUT:g} seconds")"""
SEND = "sock.sendall(self.sent[offset : offset + BUFFER])"
SHUTDOWN = "sock.shutdown(socket.SHUT_WR)"
FAILED = "file=sys.stderr)\nreturn 1"

tcp = partial(Mutant, program="client/reference")
udp = partial(Mutant, program="client/reference_udp")
typed = partial(Mutant, program="client/typed")

RECEIVE = """\
reply = b""
while len(reply) < len(message) and (data := sock.recv(1024)):
    reply += data"""
PROMPT = 'while line := input("Send:"):'
ONCE_MORE = "reply = sock.recv(1024)"
PRINT = 'print("Received", repr(reply.decode(errors="replace")), flush=True)'
CLOSED = """\
if len(reply) < len(message):
    sys.exit("The server closed the connection.")"""


def connecting(family: str) -> dict[str, str]:
    """Connect to the first address of a family."""
    found = f"socket.getaddrinfo(self.host, self.port, {family}, socket.SOCK_STREAM)[0][4][:2]"
    return {"(self.host, self.port)": found}


SILENT = tcp("prints nothing", {SHOW: "pass", 'print(f"client: {error}", file=sys.stderr)': "pass"})
SILENT_ONCE = tcp("prints nothing, and receives once", {**SILENT.changes, LOOP: f"if {LOOP[6:]}"})
TCP = (
    tcp("prints nothing of the reply", {SHOW: "pass"}, "C01: client-prints-nothing"),
    tcp(
        "treats the result of one recv() as the whole reply",
        {LOOP: f"if {LOOP[6:]}"},
        "C02 C03 C05 C14 C15: client-one-recv",
    ),
    tcp(
        "receives once, and prints its message beside the reply",
        {LOOP: f"if {LOOP[6:]}", SHOW: r'self.show(b"Sent: " + self.sent + b"\nReceived: " + data + b"\n")'},
        "C02 C03 C05 C14 C15: client-one-recv",
    ),
    tcp(
        "decodes each chunk",
        {"buffer.write(data)": "write(data.decode())", "sys.stdout.buffer.flush()": "sys.stdout.flush()"},
        "C03 C23: client-decodes-pieces",
    ),
    tcp("sends everything before it reads anything", {START: "self.send(sock)"}, "C14: client-sends-all-first"),
    tcp(
        "waits without a limit to connect and for the reply",
        {", timeout=TIMEOUT": "", WAIT: "pass"},
        "C08 C20: client-no-timeout",
    ),
    tcp(
        "gives up when a reply takes longer than a second",
        {"TIMEOUT = 3.0": "TIMEOUT = 1.0"},
        "C04: client-gives-up-early",
    ),
    tcp(
        "limits the time of the whole reply",
        {
            WAIT: """\
self.started_at = getattr(self, "started_at", time.monotonic())
deadline = self.started_at + 2.6 + len(self.sent) / 2_000_000
if not select.select([sock], [], [], max(deadline - time.monotonic(), 0))[0]:
    raise ClientError("the reply takes too long")"""
        },
        "C15: client-gives-up-early",
    ),
    tcp(
        "takes an early end for the end of the reply",
        {"if self.received < len(self.sent):\n    if self.send_failed:": "if self.send_failed:\n    if True:"},
        "C06 C11 C27: client-ignores-eof",
    ),
    tcp(
        "exits with code 0 after a reset",
        {FAILED: "file=sys.stderr)\nreturn 0 if isinstance(error, ConnectionResetError | BrokenPipeError) else 1"},
        "C07 C12: client-exit-code",
    ),
    tcp(
        "exits with code 0 without a server",
        {FAILED: "file=sys.stderr)\nreturn 0 if isinstance(error, ConnectionRefusedError) else 1"},
        "C13: client-exit-code",
    ),
    tcp(
        "fails at a reset after the whole reply",
        {'if self.received < len(self.sent):\n    raise\nreturn b""': "raise"},
        "C26: client-reset-after-reply",
    ),
    tcp(
        "catches no exceptions",
        {
            "except KeyboardInterrupt:\n    return 130\nexcept (ClientError, OSError) as error:": """\
except (Exception, KeyboardInterrupt) as error:
    traceback.print_exc()
    return 1"""
        },
        "C21 C28: client-traceback",
        warns="C06 C07 C08 C11 C12 C13 C20 C27",
    ),
    tcp(
        "ignores Ctrl-C",
        {CONNECT: f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{CONNECT}"},
        "C21: client-ignores-interrupt",
    ),
    tcp(
        "waits for a reply to an empty message",
        {
            SHUTDOWN: "pass",
            WAIT: f'if self.received == len(self.sent):\n    return b"" if self.sent else sock.recv(1)\n{WAIT}',
        },
        "C22: client-empty-message",
    ),
    tcp("strips the input before sending it", {READ: f"{READ}.strip()"}, "C17: client-strips-input"),
    tcp(
        "ends the connection with a reset",
        {
            SHUTDOWN: "pass",
            WAIT: f'if self.received == len(self.sent):\n    return b""\n{WAIT}',
            "if self.received < len(self.sent):\n    if self.send_failed:": """\
if self.received == len(self.sent):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
else:
    if self.send_failed:""",
        },
        "C17: client-linger",
    ),
    tcp(
        "adds a newline",
        {READ: f'b"".join(line.removesuffix(b"\\n") + b"\\n" for line in {READ}.splitlines(keepends=True))'},
        "C24: client-adds-newline",
    ),
    tcp("drops the line ends", {READ: f'{READ}.replace(b"\\n", b"")'}, "C17: client-drops-newline"),
    tcp("reads its input as text", {READ: f"{READ}.decode().encode()"}, "C23: client-text-only"),
    tcp("sends everything twice", {READ: f"2 * {READ}"}, "C17 C23 C24: client-sends-twice"),
    tcp(
        "ignores the result of send()",
        {
            "range(0, len(self.sent), BUFFER)": "range(0, len(self.sent), 1 << 20)",
            SEND: "sock.send(self.sent[offset:][: 1 << 20])",
        },
        "C25: client-send-ignored",
    ),
    tcp(
        "prints the reply without comparing it",
        {"if data != self.sent": "if False and data != self.sent"},
        "C09 C10: client-not-compared",
    ),
)
TYPED = (
    typed(
        "receives once",
        {
            RECEIVE: "reply = sock.recv(1024)",
            CLOSED: 'if not reply:\n    sys.exit("The server closed the connection.")',
        },
        "C02 C03 C05 C06 C07: client-one-recv",
    ),
    typed("receives at most five bytes", {RECEIVE: "reply = sock.recv(5)", CLOSED: ""}, "C01 C17: client-one-recv"),
    typed(
        "decodes each piece",
        {
            RECEIVE: """\
text = ""
while len(text.encode()) < len(message) and (data := sock.recv(1024)):
    text += data.decode()
reply = text.encode()""",
        },
        "C03: client-decodes-pieces",
    ),
    typed(
        "replaces what is no character in each piece",
        {
            RECEIVE: """\
reply, text = b"", ""
while len(reply) < len(message) and (data := sock.recv(1024)):
    reply += data
    text += data.decode(errors="replace")""",
            PRINT: 'print("Received", text, flush=True)',
        },
        "C03: client-decodes-pieces",
    ),
    typed(
        "reads a line, and sends none",
        {RECEIVE: 'reply = sock.makefile("rb").readline()'},
        "C01: client-waits-for-newline",
    ),
    typed(
        "reads to the end of the stream",
        {RECEIVE: 'reply = b""\nwhile data := sock.recv(1024):\n    reply += data'},
        "C01: client-waits-for-end",
    ),
    typed(
        "waits for the rest for ever",
        {RECEIVE: 'reply = b""\nwhile len(reply) < len(message):\n    reply += sock.recv(1024)'},
        "C06 C11: client-ignores-eof",
    ),
    typed("does not notice the end", {CLOSED: ""}, "C06 C11: client-ignores-eof"),
    typed("has no timeout", {", timeout=5": ""}, "C08 C20: client-no-timeout"),
    typed(
        "waits for a reply to an empty line, and ends at a word",
        {
            RECEIVE: f"{ONCE_MORE}{RECEIVE[11:]}",
            PROMPT: 'while (line := input("Send:")) != "exit":',
        },
        "C22: client-waits-for-word",
    ),
    typed(
        "waits for a reply to an empty line",
        {
            RECEIVE: f"{ONCE_MORE}{RECEIVE[11:]}",
            PROMPT: 'while (line := input("Send:")) or True:',
        },
        "C22: client-empty-message",
    ),
    typed(
        "strips the line", {"message = line.encode()": "message = line.strip().encode()"}, "C17: client-strips-input"
    ),
    typed(
        "prints errors, and exits with code 0",
        {"import sys": "import sys\nsys.exit = print"},
        "C07 C08 C12 C13 C20: client-exit-code",
        warns="C06 C11",
    ),
    typed(
        "catches errors, and does not report them",
        {'sys.exit(f"The server does not answer: {error}")': "_ = error"},
        "C07 C08 C12 C13 C20: client-hides-errors",
    ),
    typed("does not receive", {RECEIVE: "break", PRINT: "", CLOSED: ""}, "C01 C17: client-closes-unread"),
)
UDP = (
    udp(
        "waits for a reply without a limit",
        {"settimeout(TIMEOUT)": "settimeout(None)"},
        "C29 C34: client-udp-no-timeout",
    ),
    udp(
        "prints that it waits, and waits without a limit",
        {
            "settimeout(TIMEOUT)": "settimeout(None)",
            "self.sock.send(line)": 'self.sock.send(line)\nprint("sent; waiting for the answer", flush=True)',
        },
        "C29 C34: client-udp-no-timeout",
    ),
    udp(
        "accepts a reply from any sender",
        {"self.sock.connect(self.server)": "", "self.sock.send(line)": "self.sock.sendto(line, self.server)"},
        "C30: client-any-sender",
    ),
    udp(
        "accepts any reply as the one to its last message",
        {"if data not in self.earlier": "if True"},
        "C31: client-any-reply",
    ),
    udp(
        "exits with code 0 without a UDP server",
        {FAILED: "file=sys.stderr)\nreturn 0 if isinstance(error, ConnectionRefusedError) else 1"},
        "C32: client-exit-code",
    ),
    udp("receives 1024 bytes", {"RECEIVE_SIZE = 65536": "RECEIVE_SIZE = 1024"}, "C33: client-small-buffer"),
    Mutant(
        "exits with code 1 after a loss, without a message",
        {
            'print("Request timed out")': 'kept.append(print("Request timed out"))',
            "import time": "import atexit\nimport time\natexit.register(lambda: kept and os._exit(1))",
        },
        "C34: client-no-message",
        program="client/pinger",
    ),
    Mutant(
        "exits when a ping gets no reply",
        {'print("Request timed out")': 'sys.exit("Request timed out")'},
        "C34: client-no-retry",
        program="client/pinger",
    ),
)
# These need a machine where localhost has two address families.
BY_NAME = (
    tcp("tries only the first address of a name", connecting("0"), "C18: client-one-address"),
    tcp("supports IPv4 only", connecting("socket.AF_INET"), "C19: client-one-address"),
)
