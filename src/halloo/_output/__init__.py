"""What several jobs share for their output: JSON, files, and lines that are written in the background."""
