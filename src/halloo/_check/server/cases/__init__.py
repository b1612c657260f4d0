"""The cases for servers: streams (TCP, TLS, Unix sockets) and datagrams (UDP)."""

from halloo._check.server.cases import abuse, concurrency, datagrams, faults, fuzz, lifecycle, load, stream

MODULES = (stream, concurrency, faults, lifecycle, load, fuzz, datagrams, abuse)
