"""UDP echo servers with one mistake each, as changes of the correct one, and the cases that they fail."""

from functools import partial

from tests._check.programs import Mutant

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
udp = partial(Mutant, program="reference_udp")

LOSSY = udp(
    "loses part of a burst, which is no mistake",
    {"QUEUE = 8 << 20": "QUEUE = 16 << 10", REPLY: f"{REPLY}\nself.never_set.wait(0.001)"},
)
MUTANTS = (
    udp(
        "assumes that an address is a pair",
        {
            REPLY: REPLY.replace("datagram.peer", "(host, port)").join(("host, port = datagram.peer\n", "")),
            "suppress(OSError):  #": "suppress(OSError, ValueError):  #",
        },
        "U20: ipv6-address",
    ),
    udp(
        "decodes datagrams as UTF-8",
        {DATA: '[datagram.data.decode(errors="replace").encode()]'},
        "U02: decoded-datagram",
    ),
    udp(
        "empties its receive queue after a reply",
        {REPLY: f"{REPLY}\n{WAITING}\n    self.receive(sock)"},
        "U06 U07: drained-queue",
    ),
    udp(
        "exits at an empty datagram",
        {RECEIVED: f"{RECEIVED}\nif not datagram.data:\n    os._exit(0)"},
        "U03: empty-datagram",
    ),
    udp(
        "exits when it cannot reply to port 0",
        {"frozenset({0, ": "frozenset({", REPLY: f"try:\n    {REPLY}\nexcept OSError:\n    os._exit(1)"},
        "U16 U17: datagram-error-ends",
    ),
    udp(
        "exits at an ICMP error",
        {
            OPTION: f"{OPTION}\nsock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR, see ip(7)",
            RECEIVED: f"try:\n    {RECEIVED}\nexcept OSError:\n    os._exit(1)",
        },
        "U09: datagram-error-ends",
    ),
    udp(
        "exits at a large datagram",
        {RECEIVED: f"{RECEIVED}\nif len(datagram.data) > 1472:\n    os._exit(1)"},
        "U05: datagram-error-ends",
    ),
    udp(
        "has a buffer of 1024 bytes",
        {"sock.recvmsg(BUFFER, 256)": "sock.recvmsg(1024, 256)"},
        "U04 U05: datagram-buffer",
    ),
    udp("has a buffer of 8 KiB", {"sock.recvmsg(BUFFER, 256)": "sock.recvmsg(8192, 256)"}, "U05: datagram-buffer"),
    udp(
        "does not reply to empty datagrams",
        {ACCEPTED: "if datagram.data and not self.ignores(datagram):"},
        "U03: empty-datagram",
    ),
    udp("takes 50 ms for each datagram", {REPLY: f"{REPLY}\nself.never_set.wait(0.05)"}, "U14: slow-between-datagrams"),
    udp(
        "joins what one client sends within 20 ms",
        {
            STEP: f"""{GATHERED}
for peer, datagram in {{datagram.peer: datagram for datagram in accepted}}.items():
    data = b"".join(each.data for each in datagrams if each.peer == peer)
    with suppress(OSError):
        self.reply(sock, datagram._replace(data=data))"""
        },
        "U06: joined-datagrams",
    ),
    udp(
        "replies from the address that the kernel chooses",
        {REPLY: REPLY.replace("datagram.destination_info", "[]")},
        "U10: other-source-address",
    ),
    udp("replies to broadcasts", {" or datagram.sent_to_group": ""}, "U18: replies-to-anyone"),
    udp("replies to its copies", {LOOP: "is_loop = port == self.port"}, "U15: replies-to-anyone"),
    udp("replies to itself", {LOOP: "is_loop = False"}, "U13 U15: replies-to-anyone"),
    udp(
        "replies to the latest client",
        {
            STEP: f"""{GATHERED}
for datagram in accepted:
    with suppress(OSError):
        self.reply(sock, datagram._replace(peer=accepted[-1].peer))"""
        },
        "U07: wrong-client",
        perhaps="U21",  # it waits 20 ms for more datagrams, and TCP waits with it
    ),
    udp("replies to multicast sources", {" or from_group": ""}, "U17: replies-to-anyone"),
    udp("replies to service ports", {"frozenset({0, ": "frozenset({0} or {"}, "U12: replies-to-anyone"),
    udp("replies twice", {REPLY: f"{REPLY}\n{REPLY}"}, "U08: answered-twice"),
    udp(
        "sends broadcasts",
        {OPTION: f"{OPTION}\nsock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)"},
        "U17: replies-to-anyone",
    ),
    udp(
        "sends the end of earlier datagrams",
        {REPLY: "kept[: len(datagram.data)] = datagram.data\n" + REPLY.replace(DATA, "[bytes(kept)]")},
        "U05 U19: stale-bytes",
    ),
    udp(
        "serves only its first client",
        {ACCEPTED: f"{ACCEPTED}\n    kept.append(datagram.peer)\nif datagram.peer in kept[:1]:"},
        "U07: wrong-client",
    ),
    udp(
        "serves TCP only while no datagrams arrive",
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
        "U21: streams-starve",
    ),
    udp("strips lines", {DATA: "[datagram.data.rstrip()]"}, "U01: stripped-datagram"),
)
