"""Whole programs made of the fixes in `fixes.toml` pass the cases of their mistakes, in every language."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import indent

import pytest

from halloo._check.case import QUICK
from halloo._check.catalogue import cases
from halloo._check.execution import RunOptions, run_case
from halloo._check.fixes import fixes
from halloo._check.language import LANGUAGES, Language
from halloo._check.scheduling import run_all
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec
from tests._check import snippets

# Programs with FIX in the place of a fix: for one client, or for a piece of its data, or for the loop that accepts.

PYTHON = """
import contextlib, os, signal, socket, sys, threading, time

def handle(conn):
FIX

s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
while True:
    conn, peer = s.accept()
    threading.Thread(target=handle, args=(conn,), daemon=True).start()
"""
PYTHON_PIECES = """\
with conn:
    while data := conn.recv(65536):
FIX"""
PYTHON_LOOP = """
import socket, sys, threading

def handle(conn):
    with conn:
        try:
            while data := conn.recv(65536):
                conn.sendall(data)
        except OSError:
            pass

s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
FIX
"""
PYTHON_ASYNCIO = """
import asyncio, sys

async def handle(reader, writer):
FIX

async def main():
    await (await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]), backlog=4096)).serve_forever()

asyncio.run(main())
"""

C_BEGIN = snippets.C.partition("int s, fd")[0]
C = """
int main(int argc, char **argv) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc < 2) return 2;
    here.sin_port = htons(atoi(argv[1]));
    int one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&here, sizeof here) < 0 || listen(s, 4096) < 0) return 1;
    for (;;) {
ACCEPT
    }
}
"""
C_HERE = "/* here: recv() and send() with fd, until recv() returns 0 */"
C_HANDLE = "static char buf[65536];\nssize_t n;\nFIX"
C_PIECES = "while ((n = recv(fd, buf, sizeof buf, 0)) > 0) {\nFIX\n}\nclose(fd);"

JAVA_BEGIN = snippets.JAVA.partition("class Common")[0]
JAVA = """
class Echo {
    static void handle(Socket conn) throws IOException {
FIX
    }
    public static void main(String[] words) throws Exception {
        ServerSocket s = new ServerSocket(Integer.parseInt(words[0]), 4096, InetAddress.getByName("127.0.0.1"));
ACCEPT
    }
}
"""
JAVA_STREAMS = """\
InputStream in = conn.getInputStream();
OutputStream out = conn.getOutputStream();
byte[] buf = new byte[65536];
"""

GO_BEGIN = snippets.GO.partition("var conn")[0].replace("package fixes", "package main")
GO = """
func handle(conn net.Conn) {
FIX
}

func main() {
    s, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
    if err != nil {
        log.Fatal(err)
    }
ACCEPT
}
"""
GO_BUFFER = "buf := make([]byte, 65536)\n"
GO_PIECES = """\
defer conn.Close()
for {
    n, err := conn.Read(buf)
    if err != nil {
        return
    }
FIX
}"""

JAVASCRIPT = """
const net = require('net');
FIX
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
"""
JAVASCRIPT_CONN = """\
const server = net.createServer({ allowHalfOpen: true }, (conn) => {
    conn.on('end', () => conn.end());
    conn.on('error', () => conn.destroy());
FIX
});"""

WHOLE = {"one-recv", "readline", "stripped", "not-closed-at-eof"}  # for a client
PIECES = {"send-ignored", "decoded"}  # for a piece of its data
LOOPS = {"one-client-at-a-time", "exits-after-first"}
MISTAKES = (*sorted(WHOLE | PIECES), "closed-early", "error-ends-server", *sorted(LOOPS))

CASES = {case.id: case for case in cases()}


def fill(template: str, code: str, place: str = "FIX") -> str:
    return template.replace(place, code)


def python_server(mistake: str, code: str) -> str:
    if mistake == "closed-early":
        return fill(PYTHON_ASYNCIO, indent(code, " " * 4))
    if mistake == "error-ends-server":
        code = f"def serve(conn):\n{indent(code, '    ')}\n" + fixes("one-client-at-a-time")["python"].replace(
            "target=handle", "target=serve"
        )
        return fill(PYTHON_LOOP, code)
    if mistake in LOOPS:
        return fill(PYTHON_LOOP, code)
    if mistake in PIECES:
        code = fill(PYTHON_PIECES, indent(code, " " * 8))
    return fill(PYTHON, indent(code, " " * 4))


def c_server(mistake: str, code: str) -> str:
    loop = fixes("one-client-at-a-time")["c"]
    if mistake in LOOPS:
        loop, code = code, fixes("one-recv")["c"]
    elif mistake in PIECES:
        code = fill(C_PIECES, code)
    elif mistake not in WHOLE:
        return ""
    code = code.replace("/* here: send buf[0] to buf[n - 1] */", fixes("send-ignored")["c"])
    return C_BEGIN + fill(C, fill(loop, fill(C_HANDLE, code), C_HERE), "ACCEPT")


def java_server(mistake: str, code: str) -> str:
    loop = fixes("one-client-at-a-time")["java"]
    if mistake == "send-ignored":  # of channels
        return ""
    if mistake == "error-ends-server":
        loop = f"while (true) {{\nSocket conn = s.accept();\nnew Thread(() -> {{ {code} }}).start();\n}}"
    elif mistake in LOOPS:
        loop = code
    if mistake not in WHOLE | PIECES | {"closed-early"}:
        code = fixes("one-recv")["java"]
    streams = "" if "InputStream in" in code else JAVA_STREAMS
    return JAVA_BEGIN + fill(fill(JAVA, streams + code), loop, "ACCEPT")


def go_server(mistake: str, code: str) -> str:
    loop = fixes("one-client-at-a-time")["go"]
    if mistake == "exits-after-first":
        loop = code
    if mistake in LOOPS:
        code = fixes("one-recv")["go"]
    elif mistake == "error-ends-server":
        code = f"for {{\n{code}\n}}"
    elif mistake in PIECES:
        code = fill(GO_PIECES, code)
    buffer = GO_BUFFER if "buf" in code and GO_BUFFER not in code else ""
    return GO_BEGIN + fill(fill(GO, buffer + code), loop, "ACCEPT")


def javascript_server(_: str, code: str) -> str:
    if "createServer" not in code:
        echo = "" if "conn.pipe" in code else "conn.pipe(conn);\n"
        code = fill(JAVASCRIPT_CONN, echo + code)
    return fill(JAVASCRIPT, code)


SERVERS = {
    "python": python_server,
    "c": c_server,
    "java": java_server,
    "go": go_server,
    "javascript": javascript_server,
}


def built(language: Language, source: str, folder: Path) -> tuple[str, ...]:
    """Compile a program, and return the command that runs it; skip the test without a compiler."""
    tools: dict[Language, str] = {"c": "gcc", "java": "javac", "go": "go", "javascript": "node"}
    tool = shutil.which(tools[language]) if language in tools else sys.executable
    if tool is None:
        pytest.skip(f"needs {tools[language]}")
    suffix = {"python": "py", "javascript": "js"}.get(language, language)
    path = folder / f"Echo.{suffix}"
    path.write_text(source, encoding="utf-8")
    program = str(folder / "echo")
    builds: dict[Language, tuple[str, ...]] = {
        "c": (tool, "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-o", program, str(path)),
        "java": (tool, "-proc:none", "-d", str(folder), str(path)),
        "go": (tool, "build", "-o", program, str(path)),
    }
    if language in builds:
        environment = os.environ | {"GO111MODULE": "off"}
        done = subprocess.run(builds[language], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{source}"
    if language == "java":
        return (tool.removesuffix("c"), "-cp", str(folder), "Echo")
    return (program,) if language in builds else (tool, str(path))


def failures(spec: CheckSpec, ids: Sequence[str]) -> dict[str, str]:
    results = run_all([CASES[each] for each in ids], lambda case: run_case(case, spec, RunOptions()), jobs=4)
    return {each.case.id: each.text for each in results if each.verdict not in ("PASS", "SKIP", "INFO")}


def server_programs() -> dict[str, tuple[Language, str]]:
    """Make a program for each language and mistake; those that differ only in their comments are made once."""
    made: dict[str, tuple[str, tuple[Language, str]]] = {}
    for language, mistake in product(LANGUAGES, MISTAKES):
        code = fixes(mistake).get(language)
        if source := code and SERVERS[language](mistake, code):
            essence = "".join(re.sub(r"/\*.*?\*/|//.*|# .*", "", source).split())
            made.setdefault(essence, (f"{language} {mistake}", (language, source)))
    return dict(made.values())


PROGRAMS = server_programs()


@pytest.mark.conformance
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_server_with_the_fix_passes_the_quick_check(name: str, tmp_path: Path) -> None:
    language, source = PROGRAMS[name]
    level = 2 if name.endswith("exits-after-first") else 3  # which serves one client after another
    ids = sorted(each for each in QUICK if each[0] == "T" and CASES[each].level <= level)
    command = built(language, source, tmp_path)
    assert not failures(ServerSpec(command=(*command, "PORT")), ids)


# Programs made of several fixes at once, each in the place of its mistake: <<client-one-recv>>.

UDP: dict[Language, str] = {
    "python": """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    <<datagram-error-ends>>
""",
    "c": """
int main(int argc, char **argv) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc < 2) return 2;
    here.sin_port = htons(atoi(argv[1]));
    if (bind(s, (struct sockaddr *)&here, sizeof here) < 0) return 1;
    struct sockaddr_storage peer;
    ssize_t n;
    for (;;) {
        <<datagram-buffer>>
        if (n < 0) continue;
        <<answered-twice>>
    }
}
""",
    "java": """
class Echo {
    public static void main(String[] words) throws Exception {
        DatagramSocket s = new DatagramSocket(Integer.parseInt(words[0]), InetAddress.getByName("127.0.0.1"));
        DatagramPacket packet = new DatagramPacket(new byte[65535], 65535);
        while (true) {
            <<datagram-error-ends>>
        }
    }
}
""",
    "go": """
func main() {
    s, err := net.ListenPacket("udp", "127.0.0.1:" + os.Args[1])
    if err != nil {
        log.Fatal(err)
    }
    buf := make([]byte, 65535)
    for {
        <<datagram-error-ends>>
    }
}
""",
    "javascript": """
const dgram = require('dgram');
const s = dgram.createSocket('udp4');
<<datagram-error-ends>>
s.bind(Number(process.argv[2]), '127.0.0.1');
""",
}

CLIENTS: dict[Language, str] = {
    "python": """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
message = sys.stdin.buffer.read()
try:
    <<client-one-address>>
    <<client-send-ignored>>
    <<client-one-recv>>
    <<client-not-compared>>
    s.close()
except OSError as error:
    sys.exit(f"failed: {error}")
sys.stdout.buffer.write(reply)
""",
    "c": """
static char buf[1 << 25], reply[1 << 25];
int main(int argc, char **argv) {
    char *message = buf;
    size_t length = 0;
    ssize_t n;
    int s = -1;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    if (argc < 3 || getaddrinfo(argv[1], argv[2], &hints, &list)) return 2;
    while ((n = read(0, buf + length, sizeof buf - length)) > 0) length += n;
    <<client-one-address>>
    <<client-gives-up-early>>
    <<client-send-ignored>>
    <<client-one-recv>>
    <<client-not-compared>>
    fwrite(reply, 1, length, stdout);
    close(s);
}
""",
    "java": """
class Echo {
    public static void main(String[] words) throws Exception {
        String host = words[0];
        int port = Integer.parseInt(words[1]);
        byte[] message = System.in.readAllBytes();
        try {
            <<client-no-timeout>>
            InputStream in = s.getInputStream();
            OutputStream out = s.getOutputStream();
            <<client-sends-twice>>
            <<client-one-recv>>
            <<client-not-compared>>
            System.out.write(reply, 0, reply.length);
            System.out.flush();
            s.close();
        } catch (IOException e) {
            System.err.println("failed: " + e.getMessage());
            System.exit(1);
        }
    }
}
""",
    "go": """
func main() {
    address := net.JoinHostPort(os.Args[1], os.Args[2])
    message, _ := io.ReadAll(os.Stdin)
    <<client-no-timeout>>
    <<client-sends-twice>>
    <<client-one-recv>>
    <<client-not-compared>>
    os.Stdout.Write(reply)
    conn.Close()
}
""",
    "javascript": """
const net = require('net');
const host = process.argv[2], port = Number(process.argv[3]);
const message = require('fs').readFileSync(0);
<<client-one-address>>
<<client-no-timeout>>
<<client-ignores-eof>>
<<client-empty-message>>
<<client-one-recv>>
conn.on('close', () => {
    <<client-not-compared>>
    process.stdout.write(reply);
});
""",
}
BEGINNINGS: dict[Language, str] = {"c": C_BEGIN, "java": JAVA_BEGIN, "go": GO_BEGIN}


def with_fixes(template: str, language: Language) -> str:
    def fix(place: re.Match[str]) -> str:
        return indent(fixes(place[2])[language], place[1])

    return BEGINNINGS.get(language, "") + re.sub(r"^( *)<<(.+?)>>", fix, template, flags=re.MULTILINE)


@pytest.mark.conformance
@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_datagram_server_with_the_fixes_passes_the_quick_check(language: Language, tmp_path: Path) -> None:
    command = built(language, with_fixes(UDP[language], language), tmp_path)
    ids = sorted(each for each in QUICK if each[0] == "U")
    assert not failures(ServerSpec(command=(*command, "PORT"), scheme="udp"), ids)


@pytest.mark.conformance
@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_with_the_fixes_passes_the_quick_check(language: Language, tmp_path: Path) -> None:
    command = built(language, with_fixes(CLIENTS[language], language), tmp_path)
    ids = [*sorted(each for each in QUICK if each[0] == "C"), "C02", "C05", "C08", "C09", "C10"]
    assert not failures(ClientSpec(command=(*command, "HOST", "PORT"), stdin="pipe", verifying=True), ids)
