"""The checks of servers: the server under test as a process, the clients that talk to it, and the cases."""
