"""More about exceptions: which lines run, an exception class of your own, and the same error without `try`.

In a `try` statement:

try      the lines after the one that raises the error are skipped
except   runs when an error of its class was raised
else     runs when no error was raised
finally  runs in either case: the place to close a file or a socket

A class of your own is a subclass of Exception. Code that calls yours can then catch exactly that error.
The last part divides by 0 outside of `try`: the program ends there with a traceback, and its exit code is 1.
"""


class EmptyMessageError(Exception):
    """There is nothing to send."""


def divide(a: int, b: int) -> None:
    """Divide, and print which lines run."""
    try:
        print("dividing", a, "by", b)
        print("the result is", a / b)
        print("this line is skipped after an error")
    except ZeroDivisionError:
        print("except: division by 0")
    else:
        print("else: no error")
    finally:
        print("finally: always")


def check(message: str) -> None:
    """Raise an error for a message without text."""
    if not message:
        raise EmptyMessageError("the message is empty")
    print("the message is", repr(message))


divide(9, 3)
divide(9, 0)

try:
    check("Hello world")
    check("")
except EmptyMessageError as error:
    print("except:", error)

print(1)
print(2)
print(9 / 0)
print(4)
print(5)
