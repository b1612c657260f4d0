"""Echo clients with one mistake each: `python -m tests._check.mutants.clients NAME HOST PORT`."""

import signal
import socket
import struct
import sys
import time
import traceback

from tests._check.client import pinger, reference, reference_udp

PART = 1 << 20


class AddsANewline(reference.Client):
    """Reads lines and ends each with a newline, also the last."""

    def read(self) -> bytes:
        return b"".join(line.removesuffix(b"\n") + b"\n" for line in super().read().splitlines(keepends=True))


class CannotBeInterrupted(reference.Client):
    """Ignores Ctrl-C."""

    def exchange(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().exchange()


class DecodesEachChunk(reference.Client):
    """Decodes each chunk separately, although a character may be split."""

    def show(self, data: bytes) -> None:
        sys.stdout.write(data.decode())
        sys.stdout.flush()


class DoesNotCompare(reference.Client):
    """Prints the reply without comparing it."""

    def compare(self, data: bytes) -> None:
        pass


class ExpectsASpeed(reference.Client):
    """Limits the whole reply to 2.6 seconds plus its time at 2 MB/s, despite progress."""

    def wait_readable(self, sock: socket.socket) -> None:
        self.started_at = getattr(self, "started_at", time.monotonic())
        deadline = self.started_at + 2.6 + len(self.sent) / 2_000_000
        if not self.readable(sock, deadline - time.monotonic()):
            raise reference.ClientError("the answer takes too long")


class FailsAfterTheAnswer(reference.Client):
    """Treats a reset as an error even after the whole reply."""

    def receive_chunk(self, sock: socket.socket) -> bytes:
        self.wait_readable(sock)
        return sock.recv(reference.BUFFER)


class HasNoPatience(reference.Client):
    """Gives up when a reply takes longer than a second."""

    def wait_readable(self, sock: socket.socket) -> None:
        if not self.readable(sock, 1):
            raise reference.ClientError("no answer within a second")


class IgnoresAnEarlyEnd(reference.Client):
    """Treats end of file as the end of the reply, even if bytes are missing."""

    def check_complete(self) -> None:
        if self.send_failed:
            super().check_complete()


class IgnoresSend(reference.Client):
    """Ignores the return value of send()."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        for offset in range(0, len(data), PART):
            sock.send(data[offset : offset + PART])
            self.last_progress = time.monotonic()


class KnowsOneFamily(reference.Client):
    """Supports IPv4 only."""

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET)
        sock.settimeout(reference.TIMEOUT)
        sock.connect((self.host, self.port))
        sock.settimeout(None)
        return sock


class NeverTimesOut(reference.Client):
    """Waits without a limit for the connection and for the reply."""

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port))

    def wait_readable(self, sock: socket.socket) -> None:
        pass


class PrintsNothing(reference.Client):
    """Receives the reply but does not print it."""

    def show(self, data: bytes) -> None:
        pass


class ReadsText(reference.Client):
    """Reads its input as text."""

    def read(self) -> bytes:
        return sys.stdin.buffer.read().decode().encode()


class ReceivesOnce(reference.Client):
    """Treats the result of one recv() as the whole reply."""

    def receive(self, sock: socket.socket) -> None:
        data = self.receive_chunk(sock)
        self.show(data)
        self.compare(data)
        self.received += len(data)


class Resends(reference.Client):
    """Sends everything twice."""

    def send(self, sock: socket.socket, data: bytes) -> None:
        super().send(sock, data)
        super().send(sock, data)

    def compare(self, data: bytes) -> None:
        offset = self.received % len(self.sent)
        expected = self.sent[offset : offset + len(data)]
        expected += self.sent[: len(data) - len(expected)]
        if data != expected:
            raise reference.ClientError(f"the answer differs after {self.received} bytes")


class ResetsAtTheEnd(reference.Client):
    """Ends the connection with a reset."""

    def check_complete(self) -> None:
        super().check_complete()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def connect(self) -> socket.socket:
        self.sock = super().connect()
        return self.sock

    def shutdown_write(self, sock: socket.socket) -> None:
        pass

    def receive(self, sock: socket.socket) -> None:
        while self.received < len(self.sent) and (data := self.receive_chunk(sock)):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.last_progress = time.monotonic()


class SaysWhatItSent(reference.Client):
    """Receives once and prints its message beside the reply, so that the output contains the whole reply anyway."""

    def receive(self, sock: socket.socket) -> None:
        data = self.receive_chunk(sock)
        self.show(b"Sent: " + self.sent + b"\nReceived: " + data + b"\n")
        self.compare(data)
        self.received += len(data)


class SendsBeforeItReads(reference.Client):
    """Sends everything before it reads anything."""

    def start_sending(self, sock: socket.socket, data: bytes) -> None:
        self.send(sock, data)
        self.shutdown_write(sock)


class ShowsTracebacks(reference.Client):
    """Catches no exceptions."""

    def run(self) -> int:
        try:
            self.exchange()
        except (Exception, KeyboardInterrupt):  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            return 1
        return 0


class Strips(reference.Client):
    """Strips the input before sending it."""

    def read(self) -> bytes:
        return super().read().strip()


class SucceedsAfterAReset(reference.Client):
    """Reports that the connection was reset, but exits with code 0."""

    def report(self, error: Exception) -> int:
        code = super().report(error)
        return 0 if isinstance(error, ConnectionResetError | BrokenPipeError) else code


class SucceedsWithoutAServer(reference.Client):
    """Reports that the connection was refused, but exits with code 0."""

    def report(self, error: Exception) -> int:
        code = super().report(error)
        return 0 if isinstance(error, ConnectionRefusedError) else code


class TriesOneAddress(reference.Client):
    """Tries only the first address of a name."""

    def connect(self) -> socket.socket:
        family, kind, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.settimeout(reference.TIMEOUT)
        sock.connect(address)
        sock.settimeout(None)
        return sock


class UdpReadsLittle(reference_udp.UdpEchoClient):
    """Receives 1024 bytes and does not detect truncation."""

    receive_size = 1024


class UdpSaysThatItWaits(reference_udp.UdpEchoClient):
    """Prints that it waits, and waits forever."""

    timeout = None

    def send(self, line: bytes) -> None:
        super().send(line)
        sys.stdout.write("sent; waiting for the answer\n")
        sys.stdout.flush()


class UdpStopsAtALoss(pinger.Pinger):
    """Exits when a ping gets no reply."""

    def lost(self) -> None:
        sys.exit("Request timed out")


class UdpSucceedsWithoutAServer(reference_udp.UdpEchoClient):
    """Exits with code 0 when the port is unreachable."""

    def report(self, error: Exception) -> int:
        code = super().report(error)
        return 0 if isinstance(error, ConnectionRefusedError) else code


class UdpTakesAnySender(reference_udp.UdpEchoClient):
    """Accepts a reply from any sender."""

    def open(self) -> None:
        pass

    def send(self, line: bytes) -> None:
        self.sock.sendto(line, self.server)


class UdpTakesCopies(reference_udp.UdpEchoClient):
    """Accepts any reply as the one to its last message."""

    def is_copy(self, data: bytes) -> bool:
        return not isinstance(data, bytes)


class UdpWaitsForEver(reference_udp.UdpEchoClient):
    """Waits for a reply without a limit."""

    timeout = None


class WaitsAfterNothing(reference.Client):
    """Sends no end of file, and receives at least once even after an empty message."""

    def shutdown_write(self, sock: socket.socket) -> None:
        pass

    def receive(self, sock: socket.socket) -> None:
        while data := self.receive_chunk(sock):
            self.show(data)
            self.compare(data)
            self.received += len(data)
            self.last_progress = time.monotonic()
            if self.received >= len(self.sent):
                return

    def wait_readable(self, sock: socket.socket) -> None:
        if self.sent:
            super().wait_readable(sock)


if __name__ == "__main__":
    mutant = vars()[sys.argv.pop(1)]
    bases = {reference.Client: reference, reference_udp.UdpEchoClient: reference_udp, pinger.Pinger: pinger}
    next(module for base, module in bases.items() if issubclass(mutant, base)).main(mutant)
