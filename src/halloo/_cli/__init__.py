"""The command line: parse argv, run a command, print its errors, return its exit code."""
