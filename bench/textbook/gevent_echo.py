"""gevent's example, echoserver.py, with bytes instead of lines: gevent_echo.py PORT."""

import sys

from gevent.server import StreamServer


def echo(sock, _peer):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()


StreamServer(("127.0.0.1", int(sys.argv[1])), echo).serve_forever()
