"""Output shared by the commands: JSON, files and terminal lines."""
