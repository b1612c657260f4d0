"""Complete programs around the fixes of `halloo check`, one for each compiled language, so that a compiler reads them.

Each fix is a function of its own, in a loop, with the variables and functions that a reader has.
"""

import re
from collections.abc import Mapping
from textwrap import indent

from halloo._check.fixes import Fixes
from halloo._check.language import Language

Snippets = Mapping[str, str]  # by mistake

C = """
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* not on every macOS, and no check of programs runs there */
#endif
int s, fd, finished, one;
char buf[65536], line[1024], reply[65536], info[128], *message, *out;
ssize_t n;
size_t length, pending;
struct sockaddr_storage peer;
socklen_t len;
struct pollfd fds[64];
nfds_t count;
struct addrinfo *list;
FILE *stream;
"""

JAVA = """
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.util.*;
import java.util.concurrent.*;

class Common {
    static final Socket conn = null;
    static InputStream in;
    static OutputStream out;
    static byte[] buf, message, reply;
    static int n, port;
    static String host;
    static ByteBuffer data;
    static SocketChannel channel;
    static Selector selector;
    static SelectionKey key;
    static BufferedReader keyboard;
    static Executor worker;
    static DatagramPacket packet, request;
    static void handle(Socket conn) { }
    static void talk(Socket s) { }
    static void serveDatagrams() { }
}
class Server extends Common { static ServerSocket s; }
class Client extends Common { static Socket s; }
class Datagrams extends Common { static DatagramSocket s; }
"""

GO = """
package fixes

import (
    "bufio"
    "bytes"
    "fmt"
    "io"
    "log"
    "net"
    "os"
    "os/signal"
    "syscall"
    "time"
)

var _ = []interface{}{bufio.NewWriter, bytes.Equal, fmt.Print, io.Copy, log.Print, net.Dial, os.Exit, signal.Ignore,
    syscall.SIGPIPE, time.Now}

var conn net.Conn
var buf, message, reply []byte
var n int
var peer net.Addr
var address, host, port string

func handle(conn net.Conn) {}
func serveDatagrams() {}
"""

JAVASCRIPT = """
'use strict';
const net = require('net'), dgram = require('dgram');
"""
JAVASCRIPT_NAMES = "server, conn, data, s, peer, message, reply, received, host, port, rl, timer, sendNext"

# What a reader of a fix in Python has: modules, and names of the tutorial.
PYTHON_NAMES = {
    *("asyncio", "contextlib", "errno", "os", "selectors", "signal", "socket", "sys", "threading", "time"),
    *("s", "conn", "peer", "data", "handle", "serve", "main", "host", "port", "message", "reply", "buffer", "log"),
    *("reader", "writer", "selector", "key", "events", "pending"),
}


def in_language(language: Language, fixes: Mapping[str, Fixes]) -> dict[str, str]:
    """Select the fixes in a language, by mistake."""
    return {mistake: each[language] for mistake, each in fixes.items() if language in each}


def python(code: str) -> str:
    """Put a fix into a loop of an asynchronous function."""
    block = f"try: ...\n{code}" if code.startswith("except") else f"try:\n{indent(code, ' ')}\nfinally: ..."
    return f"async def fix():\n while True:\n{indent(block, '  ')}"


def c(snippets: Snippets) -> str:
    bodies = (
        f'#line 1 "{name}"\nvoid {_name(name)}(void) {{ for (;;) {{\n{code}\n}} }}\n' for name, code in snippets.items()
    )
    return C + "".join(bodies)


def java(snippets: Snippets) -> str:
    return JAVA + "".join(
        f"// {name}\nclass {_name(name)} {_java_body(name, code)}\n" for name, code in snippets.items()
    )


def _java_body(name: str, code: str) -> str:
    if code.startswith("void "):  # a method
        return f"{{\n{code}\n}}"
    base = (
        "Datagrams"
        if re.search(r"packet|Datagram\w+ s\b", code)
        else "Client"
        if name.startswith("client-")
        else "Server"
    )
    loop = f"for (int i = 0; i < 1; i++)\n{{\n{code}\n}}"
    return f"extends {base} {{ void run() throws Exception {{ {loop} }} }}"


def go(snippets: Snippets) -> str:
    return GO + "".join(f"\n// {name}\n{_go_function(_name(name), code)}\n" for name, code in snippets.items())


def _go_function(name: str, code: str) -> str:
    if code.startswith("func "):
        return code.replace("func handle", f"func {name}")
    socket = "net.PacketConn" if re.search(r"\bs\.(ReadFrom|WriteTo)", code) else "net.Listener"
    made = re.findall(r"^(?!if |for )(\w[\w, ]*) :=", code, re.MULTILINE)
    used = "".join(f"_ = {each}\n" for each in dict.fromkeys(", ".join(made).split(", ")) if each.strip("_"))
    return f"func {name}(s {socket}) {{\nfor {{\n{code}\n{used}}}\n}}"


def javascript(snippets: Snippets) -> str:
    functions = (
        f"// {name}\nasync function {_name(name)}({JAVASCRIPT_NAMES}) {{ for (;;) {{\n{code}\n}} }}\n"
        for name, code in snippets.items()
    )
    return JAVASCRIPT + "".join(functions)


def _name(mistake: str) -> str:
    return f"fix_{mistake.replace('-', '_')}"
