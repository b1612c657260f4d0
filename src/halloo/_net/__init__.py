"""Mechanism: the only place with descriptors, processes, clocks and randomness."""
