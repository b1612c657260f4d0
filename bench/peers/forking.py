"""Start a tool that forks for each client, on a port found free: neither can say which it got."""

import os
import socket
import sys
import time


def listens(port):
    with open("/proc/net/tcp") as table:
        return any(f":{port:04X} 00000000:0000 0A" in line for line in table)


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
command = {
    "socat": ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay", "EXEC:cat"],
    "ncat": ["ncat", "-l", "127.0.0.1", str(port), "--keep-open", "--max-conns", "10000", "--exec", "/bin/cat"],
}[sys.argv[1]]
if (child := os.fork()) == 0:
    if os.fork():  # the tool must not find a child it never started: ncat ends over one
        os._exit(0)
    while not listens(port):
        time.sleep(0.01)
    print(f"listening on tcp://127.0.0.1:{port}", flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.execvp(command[0], command)
