"""Exceptions: an error inside `try` jumps to its `except`, and the program continues after it.

The words "division by 0" are the program's own. `print(error)` would print "division by zero", and in Python 2 it
printed "integer division or modulo by zero": there, / between two integers was integer division, which is // in
Python 3. A program that prints its own words prints the same in both.

exceptions_more.py continues from here; echoclient_safe.py does the same for sockets.
"""

print(1)
print(2)
try:
    print(9 / 0)
except ZeroDivisionError:
    print("division by 0")
print(4)
print(5)
