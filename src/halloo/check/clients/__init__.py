"""The cases of clients, asked by an instrumented server."""

from halloo.check.clients import answers, datagrams, ends, wire

ROOMS = (answers, ends, wire, datagrams)
