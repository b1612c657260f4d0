"""One verb a file: a function that does it, and the frozen report that it returns."""
