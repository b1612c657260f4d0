"""Run halloo for minutes under random faults, and account for every byte, connection, pause and page of memory.

`python -m bench.soak --minutes 10 --workers 2`; see bench/README.md.
"""
