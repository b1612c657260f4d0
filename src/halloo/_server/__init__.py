"""The echo server: event loop, connections, datagrams, TLS, limits, workers and metrics."""
