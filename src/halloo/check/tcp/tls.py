"""The case of TLS's own goodbye: the end of a stream has to be told from a stream that was cut off.

Knows a client's sockets.
"""

from halloo.check.case import case
from halloo.check.target import Target


@case(
    passes="close_notify before the end; a client that leaves without one is survived",
    needs=("T35",),
    severity="INFO",
    source="RFC 8446 6.1; uvloop#385",
    schemes=frozenset({"tls"}),
)
def t54_tls(target: Target) -> str:
    """Say goodbye and await the server's; then leave without a word, and see the next client served."""
    with target.dial() as client:
        client.ask(b"hello\n", surplus=0)
        client.half_close()
        client.end()  # an end without close_notify is an error of TLS
    with target.dial() as client:
        client.ask(b"hello\n", surplus=0)
        client.raw.close()
    target.served()
    return "close_notify comes before the end"
