"""The cases of servers of streams: TCP, TLS and Unix sockets."""

from halloo.check.tcp import clients, faults, fuzz, life, load, stream, tls

ROOMS = (stream, clients, faults, life, load, fuzz, tls)
