"""The client commands connect, send, receive and demo: a function each, and the frozen report that it returns."""
