"""What several jobs share for their output: JSON and files."""
