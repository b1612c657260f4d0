"""Sockets: connect, listen, connections, datagrams, TLS, signals, and errors of the system put into words."""
