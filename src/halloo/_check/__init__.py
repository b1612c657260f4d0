"""Test echo servers and clients: the cases, what runs them, the diagnoses and the reports."""
