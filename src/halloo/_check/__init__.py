"""The conformance cases as data, the runner, and the instrumented server for checking clients."""
