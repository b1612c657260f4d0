"""Measure an echo from the client's side."""
