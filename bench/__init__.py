"""Measure halloo beside other echo servers, in one run, on one machine, against a page of C.

Nothing here is installed; `python -m bench.tcp --quick` from the repository is the way in.
"""
