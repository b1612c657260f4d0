"""The cases of clients, run by an instrumented server."""

from halloo._check.client.cases import answers, datagrams, ends, wire

MODULES = (answers, ends, wire, datagrams)
