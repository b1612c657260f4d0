"""What a probe sees of servers with one mistake each, and of servers that are no echo servers at all."""

from concurrent.futures import ThreadPoolExecutor

from halloo._check.execution import RunOptions, probe_server
from halloo._check.server.probe import Facts
from halloo._check.spec import ServerSpec
from tests._check.programs import LISTEN, python

SERVE = f"""import threading, time
{LISTEN}
clients = []
def serve(conn):
    clients.append(conn)
    with conn:
        {{}}
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
EACH = "while data := conn.recv(65536): "
LINES = 'lines = conn.makefile("rwb")\n        '
SEEN = {  # what a thread does with its connection, and the facts
    f"{EACH}conn.sendall(data)": "answers echoes",
    f"{EACH}conn.sendall(data.strip())": "answers newline-dropped blanks-dropped",
    f"{EACH}conn.sendall(data.split(bytes(1))[0])": "answers echoes cut-at-nul",
    f"{EACH}conn.sendall(data.decode().encode())": "answers echoes invalid-utf8-changed",
    f"{EACH}conn.sendall(data.decode('latin-1').encode())": "answers echoes invalid-utf8-changed non-ascii-changed",
    f"{LINES}for line in lines: conn.sendall(line)": "answers echoes waits-for-newline",
    f"{LINES}for line in lines: lines.write(line)": "mute answers-in-blocks",
    "conn.sendall(b''.join(iter(lambda: conn.recv(99), b'')))": "answers-at-end echoes",
    "conn.sendall(conn.recv(65536))": "answers echoes closes-after-reply",
    "conn.sendall(conn.recv(100))": "answers echoes closes-after-reply first-bytes-only at-100",
    "while (d := conn.recv(99)) != b'exit\\n': time.sleep(not d) or conn.sendall(d)": "answers echoes ends-at-word",
}
KINDS = {
    "conn.sendall(b'Mon Jan 1 00:00:00\\n')": "it spoke first and closed (it sent 'Mon Jan 1 00:00:00\\n' and ended",
    f"conn.sendall(b'Welcome!\\n')\n        {EACH}conn.sendall(data)": "halloo check server --greeting",
    f"{EACH}[each.sendall(data) for each in clients if each is not conn]": "was received by another, as in a chat",
    f"{EACH}pass": "nothing returns to the sender: neither 'Hello, 1st line\\n' nor the end of the input was answered",
    f"{EACH}conn.sendall(data.upper())": "halloo check server --expect upper",
    f"{EACH}conn.sendall(data.rstrip()[::-1])": "halloo check server --expect reverse",
    f"{EACH}conn.sendall(b'42')": "received '42'; if that is what this server is for, say so",
    "conn.recv(99)": "it ended the connection without a reply when it was sent 'Hello, 1st line\\n'",
    "pass": "it ended the connection before it was sent anything",
}


def facts_of(action: str) -> Facts:
    return probe_server(ServerSpec(command=python(SERVE.format(action))), RunOptions())


def test_each_mistake_and_each_kind_of_server_is_seen() -> None:
    with ThreadPoolExecutor(8) as pool:  # most of them wait
        found = dict(zip([*SEEN, *KINDS], pool.map(facts_of, [*SEEN, *KINDS]), strict=True))
    assert {action: found[action].names for action in SEEN} == {
        action: {*words.split()} for action, words in SEEN.items()
    }
    assert {action: found[action].kind for action in SEEN} == dict.fromkeys(SEEN, "")
    assert [found[action].kind for action, sentence in KINDS.items() if sentence not in found[action].kind] == []


def test_a_lossy_server_for_datagrams_is_seen() -> None:
    code = """
import itertools, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
for number in itertools.count():
    data, peer = s.recvfrom(1024)
    if number % 3:
        s.sendto(data, peer)
"""
    facts = probe_server(ServerSpec(command=python(code), scheme="udp"), RunOptions())
    assert facts.names == {"answers", "echoes", "lossy"}
