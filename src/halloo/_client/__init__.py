"""Commands: a function for each, and the frozen report that it returns."""
