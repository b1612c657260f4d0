"""The states of a descriptor: which handler the reactor calls when it is ready. Pure: no I/O, no clock, no randomness.

accept -> [HANDSHAKING ->] ECHOING  <-> WRITE_PENDING     on demand only: THROTTLED for rate limits (throttling.py),
               | or HANDLING <-> THROTTLED                HANDLING (handlers.py), HANDSHAKING and TLS_CLOSING for
               v                                          TLS (tls.py), LINGERING when the server closes (closer.py)
           [TLS_CLOSING ->] [LINGERING ->] FREE
"""

FREE = 0  # no connection, or one just closed
LISTENING = 1  # a listening socket
WAKEUP = 2  # the socket by which other threads and signals wake the loop
ECHOING = 3  # an echo without pending writes: the hot state
WRITE_PENDING = 4  # part of an answer did not fit; nothing is read until it is flushed
THROTTLED = 5  # over its rate limit; nothing is read for a moment
HANDLING = 6  # a Handler answers instead of the echo
HANDSHAKING = 7  # the TLS handshake is in progress
TLS_CLOSING = 8  # everything is answered; close_notify did not fit
LINGERING = 9  # our FIN is sent; input is read and discarded until the client's FIN
PARENT_EXIT = 10  # the parent pipe of a worker, which reaches its end when the parent exits
DATAGRAM = 11  # a datagram socket
STATES = 12

CONNECTED = (ECHOING, WRITE_PENDING, THROTTLED, HANDLING, HANDSHAKING, TLS_CLOSING, LINGERING)
READING = (ECHOING, HANDLING)
