"""A result as text or JSON."""
