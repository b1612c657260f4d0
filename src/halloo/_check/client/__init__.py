"""Check an echo client: an instrumented server, the program under test, and the cases."""
