"""Start a tool that forks for each client, on a free port, and print the port: the tools do not print it."""

import os
import socket
import sys
import time

scheme = "udp" if sys.argv[1].endswith("-udp") else "tcp"
LISTENS = {"tcp": "0A", "udp": "07"}  # for the kernel, a datagram socket without a peer is closed (07)


def listens(port):
    with open(f"/proc/net/{scheme}") as table:
        return any(f":{port:04X} 00000000:0000 {LISTENS[scheme]}" in line for line in table)


with socket.socket(type=socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM) as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
command = {
    "socat": ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay", "EXEC:cat"],
    "socat-udp": ["socat", "-b65536", f"UDP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "PIPE"],
    "ncat": ["ncat", "-l", "127.0.0.1", str(port), "--keep-open", "--max-conns", "10000", "--exec", "/bin/cat"],
}[sys.argv[1]]
if (child := os.fork()) == 0:
    if os.fork():  # a grandchild: ncat exits when a child that it did not start ends
        os._exit(0)
    while not listens(port):
        time.sleep(0.01)
    print(f"listening on {scheme}://127.0.0.1:{port}", flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.execvp(command[0], command)
