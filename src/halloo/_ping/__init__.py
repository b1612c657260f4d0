"""Measure an echo server from the client: probes, counters, schedule, report."""
