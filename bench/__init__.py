"""Compare halloo with other echo servers, in one run on one machine; the reference is a short C program.

Not installed with halloo: run `python -m bench.tcp --quick` in the repository.
"""
