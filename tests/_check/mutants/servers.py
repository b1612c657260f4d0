"""Echo servers with one mistake each: `python -m tests._check.mutants.servers NAME PORT`."""

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from queue import SimpleQueue
from typing import ClassVar

from tests._check import reference, threaded


class BlocksWhileSending(reference.EchoServer):
    """Blocks until one client has received everything, while all others wait."""

    def serve(self, fd: int) -> None:
        sock = self.socks[fd]
        try:
            data = sock.recv(reference.BUFFER)
            sock.setblocking(True)
            sock.sendall(data)
            sock.setblocking(False)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(fd)


class BusyPolls(reference.EchoServer):
    """Polls in a busy loop, without waiting."""

    def run_once(self, timeout: float | None) -> bool:
        del timeout
        return super().run_once(0)


class ClosesWithUnreadBytes(threaded.Server):
    """Shuts down and closes at SIGTERM while the client is still sending, which is a reset."""

    def drain(self) -> None:
        for conn in list(self.last_received):
            with suppress(OSError):
                conn.shutdown(socket.SHUT_WR)
                conn.close()


class DecodesUtf8(threaded.Server):
    """Decodes each piece as UTF-8, and encodes it again."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        conn.sendall(data.decode().encode())


class DropsPendingBytesAtEof(threaded.Server):
    """Writes a little later than it reads, and at the end of the stream drops the bytes not written yet."""

    def serve_client(self, conn: socket.socket) -> None:
        held, poll = b"", select.poll()
        poll.register(conn, select.POLLIN)
        while data := self.receive(conn):
            self.reply(conn, held)
            held = data
            if not poll.poll(2):
                self.reply(conn, held)
                held = b""


class DropsUnsentBytes(reference.EchoServer):
    """Ignores the result of a non-blocking send(): bytes that do not fit into the buffer are lost."""

    def serve(self, fd: int) -> None:
        sock = self.socks[fd]
        try:
            if data := self.receive(sock):
                with suppress(BlockingIOError):
                    sock.send(data)
            else:
                self.close(fd)
        except BlockingIOError:
            return
        except OSError:
            self.close(fd)


class ExitsAfterOneClient(threaded.Server):
    """Serves its first client, and exits."""

    def serve(self) -> None:
        self.start_client(self.accept())
        while self.last_received:
            self.never_set.wait(0.01)


class ExitsAtFailedGetpeername(threaded.Server):
    """Calls getpeername() right after accept(), and exits if the client has already reset the connection."""

    def accept(self) -> socket.socket:
        conn = super().accept()
        try:
            conn.getpeername()
        except OSError:
            traceback.print_exc()
            os._exit(1)
        return conn


class ExitsAtFailedShutdown(threaded.Server):
    """Calls shutdown() at the end of the stream, and exits if the client has reset the connection meanwhile."""

    def serve_client(self, conn: socket.socket) -> None:
        super().serve_client(conn)
        try:
            conn.shutdown(socket.SHUT_WR)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would with one thread


class ExitsAtReset(threaded.Server):
    """Catches no errors: one client's reset ends the server."""

    def handle(self, conn: socket.socket) -> None:
        try:
            with conn:
                self.serve_client(conn)
        except OSError:
            traceback.print_exc()
            os._exit(1)  # as it would with one thread
        del self.last_received[conn]


class ExitsOutOfDescriptors(threaded.Server):
    """Does not handle errors of accept(): out of descriptors, it exits."""

    def serve(self) -> None:
        while True:
            self.start_client(self.accept())


class HasAShortBacklog(threaded.Server):
    """Has a backlog of five: in a burst, most clients have to resend their SYN after a second."""

    def listen(self, port: int) -> socket.socket:
        return socket.create_server((threaded.HOST, port), backlog=5)


class HasASmallThreadPool(threaded.Server):
    """Has a pool of 600 threads; each connection occupies one until it is closed."""

    pool = threading.Semaphore(600)

    def handle(self, conn: socket.socket) -> None:
        with self.pool:
            super().handle(conn)


class IgnoresPartialSends(threaded.Server):
    """Ignores the result of a blocking send(), which is partial after SIGSTOP and SIGCONT."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        conn.send(data)


class LeaksDescriptors(threaded.Server):
    """Shuts connections down without closing them."""

    opened: ClassVar[list[socket.socket]] = []

    def handle(self, conn: socket.socket) -> None:
        self.opened.append(conn)
        with suppress(OSError):
            self.serve_client(conn)
            conn.shutdown(socket.SHUT_RDWR)
        self.last_received.pop(conn, None)


class LeaksDescriptorsAfterErrors(threaded.Server):
    """Closes a connection at the end of the stream, but not after an error."""

    opened: ClassVar[list[socket.socket]] = []

    def handle(self, conn: socket.socket) -> None:
        self.opened.append(conn)
        with suppress(OSError):
            self.serve_client(conn)
            conn.close()
        self.last_received.pop(conn, None)


class LeavesZombies(threaded.Server):
    """Starts a process for each client, and never reaps it."""

    def start_client(self, conn: socket.socket) -> None:
        if os.fork() == 0:
            self.listener.close()
            with suppress(threaded.Stop):
                self.handle(conn)
            os._exit(0)
        conn.close()


class MixesClientsUp(threaded.Server):
    """Keeps the client in a variable of the server, and replies to the latest one."""

    latest: socket.socket

    def start_client(self, conn: socket.socket) -> None:
        self.latest = conn
        super().start_client(conn)

    def reply(self, conn: socket.socket, data: bytes) -> None:
        del conn
        super().reply(self.latest, data)


class NeverCloses(threaded.Server):
    """Stops reading at the end of the stream, and does not close the connection."""

    kept: ClassVar[list[socket.socket]] = []

    def serve_client(self, conn: socket.socket) -> None:
        super().serve_client(conn)
        self.kept.append(conn.dup())


class NeverReusesSlots(threaded.Server):
    """Has a table of 4096 clients, and never reuses a slot."""

    clients = 0

    def accept(self) -> socket.socket:
        self.clients += 1
        if self.clients > 4096:
            sys.exit("too many clients")
        return super().accept()


class OmitsReuseaddr(threaded.Server):
    """Does not set SO_REUSEADDR: its port cannot be bound again for a minute."""

    def listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.bind((threaded.HOST, port))
        listener.listen(4096)
        return listener


class PrintsEachMessage(threaded.Server):
    """Prints a line for each message."""

    def reply(self, conn: socket.socket, data: bytes) -> None:
        print(f"{len(data)} bytes from {conn.getpeername()}", flush=True)
        super().reply(conn, data)


class PrintsTracebackAtInterrupt(threaded.Server):
    """Has no handler for SIGINT: Ctrl-C ends in a traceback."""

    signals = (signal.SIGTERM,)


class QueuesWithoutLimit(threaded.Server):
    """Reads without limit, and queues all bytes to be written."""

    def serve_client(self, conn: socket.socket) -> None:
        pending: SimpleQueue[bytes] = SimpleQueue()
        writer = threading.Thread(target=self.write, args=(conn, pending), daemon=True)
        writer.start()
        try:
            while data := self.receive(conn):
                pending.put(data)
        finally:
            pending.put(b"")
            writer.join()

    def write(self, conn: socket.socket, pending: "SimpleQueue[bytes]") -> None:
        with suppress(OSError):
            while data := pending.get():
                self.reply(conn, data)


class ReadsLittleWithNagle(threaded.Server):
    """Receives 1024 bytes at a time with Nagle's algorithm on: the second piece waits for an acknowledgement."""

    def serve_client(self, conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        while data := conn.recv(1024):
            self.last_received[conn] = time.monotonic()
            conn.sendall(data)


class ReceivesOnce(threaded.Server):
    """Receives once and sends once, as if one recv() were one message."""

    def serve_client(self, conn: socket.socket) -> None:
        self.reply(conn, self.receive(conn))


class Serves100Clients(threaded.Server):
    """Serves at most 100 clients at once, as `ncat --keep-open` does."""

    hundred = threading.Semaphore(100)

    def handle(self, conn: socket.socket) -> None:
        with self.hundred:
            super().handle(conn)


class ServesOneAtATime(threaded.Server):
    """Serves a client to the end before it starts with the next one."""

    one = threading.Semaphore(1)

    def handle(self, conn: socket.socket) -> None:
        with self.one:
            super().handle(conn)


class SetsReuseport(threaded.Server):
    """Sets SO_REUSEPORT: a second copy starts without an error, and gets half of the clients."""

    def listen(self, port: int) -> socket.socket:
        return socket.create_server((threaded.HOST, port), backlog=4096, reuse_port=True)


class SleepsInItsLoop(reference.EchoServer):
    """Limits its rate by sleeping in the loop that serves all clients."""

    echoed = 0

    def receive(self, sock: socket.socket) -> bytes:
        data = super().receive(sock)
        self.echoed += len(data)
        if self.echoed >= 8 << 20:
            self.echoed = 0
            select.select([], [], [], 0.1)
        return data


class SpinsAtHalfClose(reference.EchoServer):
    """Polls for a half-close while bytes are pending: the event stays ready, and the loop spins."""

    def serve(self, fd: int) -> None:
        super().serve(fd)
        if fd in self.pending:
            self.poll.modify(fd, select.EPOLLOUT | select.EPOLLRDHUP)


class SpinsOutOfDescriptors(threaded.Server):
    """Retries a failed accept() at once: out of descriptors, it spins."""

    def serve(self) -> None:
        while True:
            with suppress(OSError):
                self.start_client(self.accept())


class StopsWithoutDraining(threaded.Server):
    """Exits at SIGTERM, and drops bytes in flight."""

    def drain(self) -> None:
        pass


class StripsLines(threaded.Server):
    """Reads lines, strips them, and sends them with a newline."""

    def serve_client(self, conn: socket.socket) -> None:
        rest = b""
        while data := self.receive(conn):
            *lines, rest = (rest + data).split(b"\n")
            self.reply(conn, b"".join(line.strip() + b"\n" for line in lines))
        self.reply(conn, rest.strip())


class WaitsForLines(threaded.Server):
    """Waits for the end of a line before it echoes."""

    def serve_client(self, conn: socket.socket) -> None:
        rest = b""
        while data := self.receive(conn):
            lines, newline, rest = (rest + data).rpartition(b"\n")
            self.reply(conn, lines + newline)
        self.reply(conn, rest)


if __name__ == "__main__":
    mutant = vars()[sys.argv.pop(1)]
    (reference if issubclass(mutant, reference.EchoServer) else threaded).main(mutant)
