"""UDP echo servers with one mistake each, as changes of the correct one, and the cases that they fail."""

from tests._check.programs import Mutant

ANY_SOURCE = "every sender address gets a reply"
CROSSED = "replies go to the wrong client, or only to the first"
DATAGRAM_ENDS = "an error about one datagram ends the server"
EMPTY = "an empty datagram is taken for end of file"
SMALL = "the buffer is too small for a datagram"

DATA = "[datagram.data]"
REPLY = f"sock.sendmsg({DATA}, datagram.destination_info, 0, datagram.peer)"
RECEIVED = "datagram = self.receive(sock)"
ACCEPTED = "if not self.ignores(datagram):"
STEP = f"{RECEIVED}\n{ACCEPTED}\n    self.reply(sock, datagram)"
LOOP = "is_loop = datagram.is_reply or port == self.port"
OPTION = "sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)"
WAITING = "while select.select([sock], [], [], 0.02)[0]:"
GATHERED = f"""\
datagrams = [self.receive(sock)]
{WAITING}
    datagrams.append(self.receive(sock))
accepted = [datagram for datagram in datagrams if not self.ignores(datagram)]"""


def udp(mistake: str, changes: dict[str, str], fails: str = "", cause: str = "") -> Mutant:
    return Mutant(mistake, changes, fails, cause, program="reference_udp")


LOSSY = udp(
    "has a small buffer and is slow, so that part of a burst is lost: that is no mistake",
    {"QUEUE = 8 << 20": "QUEUE = 16 << 10", REPLY: f"{REPLY}\nself.never_set.wait(0.001)"},
)
MUTANTS = (
    udp(
        "assumes that an address is a pair of host and port; an IPv6 address has four parts",
        {
            REPLY: REPLY.replace("datagram.peer", "(host, port)").join(("host, port = datagram.peer\n", "")),
            "suppress(OSError):  #": "suppress(OSError, ValueError):  #",
        },
        "U20",
        "an address is assumed to be host and port",
    ),
    udp(
        "decodes datagrams as UTF-8, and replaces invalid bytes",
        {DATA: '[datagram.data.decode(errors="replace").encode()]'},
        "U02",
        "bytes are decoded before they are echoed",
    ),
    udp(
        "empties its receive queue after a reply: datagrams received meanwhile are lost",
        {REPLY: f"{REPLY}\n{WAITING}\n    self.receive(sock)"},
        "U06 U07",
        "datagrams received in between are discarded",
    ),
    udp(
        "exits at an empty datagram, as if it were the end of a stream",
        {RECEIVED: f"{RECEIVED}\nif not datagram.data:\n    os._exit(0)"},
        "U03",
        EMPTY,
    ),
    udp(
        "replies to port 0 as well, and exits because sending there, or to a broadcast address, fails",
        {"frozenset({0, ": "frozenset({", REPLY: f"try:\n    {REPLY}\nexcept OSError:\n    os._exit(1)"},
        "U16 U17",
        DATAGRAM_ENDS,
    ),
    udp(
        "exits at the ICMP error that a closed client socket causes",
        {
            OPTION: f"{OPTION}\nsock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR, see ip(7)",
            RECEIVED: f"try:\n    {RECEIVED}\nexcept OSError:\n    os._exit(1)",
        },
        "U09",
        DATAGRAM_ENDS,
    ),
    udp(
        "exits at a datagram that does not fit into one Ethernet packet",
        {RECEIVED: f"{RECEIVED}\nif len(datagram.data) > 1472:\n    os._exit(1)"},
        "U05",
        SMALL,
    ),
    udp("has a buffer of 1024 bytes", {"sock.recvmsg(BUFFER, 256)": "sock.recvmsg(1024, 256)"}, "U04 U05", SMALL),
    udp("has a buffer of 8 KiB", {"sock.recvmsg(BUFFER, 256)": "sock.recvmsg(8192, 256)"}, "U05", SMALL),
    udp(
        "does not reply to empty datagrams",
        {ACCEPTED: "if datagram.data and not self.ignores(datagram):"},
        "U03",
        EMPTY,
    ),
    udp(
        "takes 50 ms for each datagram before it reads the next one, as for a lookup of the sender's name",
        {REPLY: f"{REPLY}\nself.never_set.wait(0.05)"},
        "U14",
        "slow work is done between two datagrams",
    ),
    udp(
        "treats datagrams as a stream: those that one client sends within 20 ms get one reply",
        {
            STEP: f"""{GATHERED}
for peer, datagram in {{datagram.peer: datagram for datagram in accepted}}.items():
    data = b"".join(each.data for each in datagrams if each.peer == peer)
    with suppress(OSError):
        self.reply(sock, datagram._replace(data=data))"""
        },
        "U06",
        "datagrams are joined, as if they were a stream",
    ),
    udp(
        "replies from the address that the kernel chooses, not from the one that the datagram was sent to",
        {REPLY: REPLY.replace("datagram.destination_info", "[]")},
        "U10",
        "the reply is sent from a different address",
    ),
    udp("replies to datagrams sent to a broadcast address", {" or datagram.sent_to_group": ""}, "U18", ANY_SOURCE),
    udp("ignores its own port, but no other echo server", {LOOP: "is_loop = port == self.port"}, "U15", ANY_SOURCE),
    udp("replies to its own replies, and to those of its copies", {LOOP: "is_loop = False"}, "U13 U15", ANY_SOURCE),
    udp(
        "keeps the client in a variable, and replies to the latest one",
        {
            STEP: f"""{GATHERED}
for datagram in accepted:
    with suppress(OSError):
        self.reply(sock, datagram._replace(peer=accepted[-1].peer))"""
        },
        "U07",
        CROSSED,
    ),
    udp("replies to a multicast source address", {" or from_group": ""}, "U17", ANY_SOURCE),
    udp(
        "replies to the ports of services that answer any datagram",
        {"frozenset({0, ": "frozenset({0} or {"},
        "U12",
        ANY_SOURCE,
    ),
    udp("replies to each datagram twice", {REPLY: f"{REPLY}\n{REPLY}"}, "U08", "a datagram is answered more than once"),
    udp(
        "enables SO_BROADCAST, and so replies to a spoofed broadcast address",
        {OPTION: f"{OPTION}\nsock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)"},
        "U17",
        ANY_SOURCE,
    ),
    udp(
        "sends its buffer with the end of earlier, longer datagrams",
        {REPLY: "kept[: len(datagram.data)] = datagram.data\n" + REPLY.replace(DATA, "[bytes(kept)]")},
        "U19",
        "the reply contains bytes of an earlier datagram",
    ),
    udp(
        "serves only its first client",
        {ACCEPTED: f"{ACCEPTED}\n    kept.append(datagram.peer)\nif datagram.peer in kept[:1]:"},
        "U07",
        CROSSED,
    ),
    udp(
        "serves TCP clients only while no datagrams arrive, in the same loop",
        {
            "threading.Thread(target=self.accept, daemon=True).start()": """\
conns = []
while True:
    while readable := select.select(self.socks, [], [], 0.02)[0]:
        for sock in readable:
            self.step(sock)
    for ready in select.select([self.streams, *conns], [], [], 0)[0]:
        if ready is self.streams:
            conns.append(ready.accept()[0])
        elif data := ready.recv(BUFFER):
            ready.sendall(data)
        else:
            conns.remove(ready)"""
        },
        "U21",
        "streams wait while datagrams arrive",
    ),
    udp(
        "treats a datagram as a line, and strips its newline",
        {DATA: "[datagram.data.rstrip()]"},
        "U01",
        "lines are expected, stripped or added",
    ),
)
