"""The cases of servers: of streams (TCP, TLS, Unix sockets) and of datagrams."""

from halloo._check.server.cases import abuse, concurrency, datagrams, faults, fuzz, lifecycle, load, stream

MODULES = (stream, concurrency, faults, lifecycle, load, fuzz, datagrams, abuse)
