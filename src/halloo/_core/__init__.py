"""Values and decisions shared by all jobs. Pure: no I/O, no clock, no randomness."""
