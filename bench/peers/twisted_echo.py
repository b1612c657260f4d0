"""Echo server with Twisted on epoll; half-close and backpressure must be enabled explicitly."""

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import interfaces, protocol, reactor  # noqa: E402  # the reactor must be installed first
from zope.interface import implementer  # noqa: E402  # as above


@implementer(interfaces.IHalfCloseableProtocol)
class Echo(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data):
        self.transport.write(data)

    def readConnectionLost(self):
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), backlog=4096, interface="127.0.0.1")
print(f"listening on tcp://127.0.0.1:{port.getHost().port}", flush=True)
reactor.run()
