"""Echo with gevent's StreamServer."""

from gevent.server import StreamServer


def echo(sock, _address):
    try:
        while data := sock.recv(64 * 1024):
            sock.sendall(data)
    except OSError:
        pass
    finally:
        sock.close()


server = StreamServer(("127.0.0.1", 0), echo, backlog=4096)
server.start()
print(f"listening on tcp://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
