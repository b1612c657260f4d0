"""The loop that serves: what is ready, whose state it is in, and what is done then."""
