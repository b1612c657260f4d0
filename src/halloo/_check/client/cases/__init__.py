"""The client cases."""

from halloo._check.client.cases import answers, datagrams, ends, wire

MODULES = (answers, ends, wire, datagrams)
