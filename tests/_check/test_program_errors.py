"""Tests of the errors that programs print."""

import pytest

from halloo._check.program_errors import MAX_LINES, last_error, own_words

PYTHON = """Exception in thread Thread-1 (serve):
Traceback (most recent call last):
  File "threading.py", line 982, in run
    self._target(*self._args, **self._kwargs)
  File "server.py", line 4, in serve
    c.send("Echo: " + data)
           ~~~~~~~~~^~~~~~
  [Previous line repeated 3 more times]
TypeError: can only concatenate str (not "bytes") to str"""
SYNTAX = """  File "server.py", line 5
    print "listening"
    ^^^^^^^^^^^^^^^^^
SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?"""
NODE = """/home/a/server.js:1
c.on('data', d=>{ c.wirte(d); })
                    ^

TypeError: c.wirte is not a function
    at Socket.<anonymous> (/home/a/server.js:1:69)
    at TCP.onStreamRead (node:internal/stream_base_commons:191:23)"""
NODE_CODE = """node:events:495
      throw er; // Unhandled 'error' event
      ^

Error [ERR_SOCKET_BAD_PORT]: options.port should be >= 0
    at Server.listen (node:net:1907:5)"""
JAVA = """Exception in thread "main" java.lang.NullPointerException: Cannot invoke "String.length()"
\tat Server.run(Server.java:7)
\tat Server.main(Server.java:3)
Caused by: java.io.IOException
\t... 2 more"""
DOTNET = """Unhandled exception. System.NullReferenceException: Object reference not set to an instance of an object.
   at Server.Main(String[] args) in /home/a/Program.cs:line 7"""
GO = """panic: assignment to entry in nil map

goroutine 1 [running]:
main.main()
\t/home/a/server.go:3 +0x9c"""

SANITIZER = """=================================================================
==5362==ERROR: AddressSanitizer: SEGV on unknown address 0x000000000000 (pc 0x562c4edf23f5 T0)
==5362==Hint: address points to the zero page.
    #0 0x562c4edf23f5 in main (/home/a/server+0x13f5)"""


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (PYTHON, "TypeError"),
        (SYNTAX, "SyntaxError"),
        (NODE, "TypeError"),
        (NODE_CODE, "Error"),
        (JAVA, "NullPointerException"),
        (DOTNET, "NullReferenceException"),
        (GO, "panic"),
        (SANITIZER, "AddressSanitizer"),
    ],
    ids=["Python", "syntax", "Node.js", "Node.js with a code", "Java", "C#", "Go", "C"],
)
def test_an_error_is_found_with_its_lines(output: str, name: str) -> None:
    error = last_error(f"listening\n{output}\n\nExit.\n")
    assert error
    assert (error.name, error.text) == (name, output.removeprefix("Exception in thread Thread-1 (serve):\n"))


def test_the_last_error_counts_and_ctrl_c_is_none() -> None:
    interrupted = PYTHON.replace("TypeError: can only", "KeyboardInterrupt: can only")
    for output, name in {
        f"{PYTHON}\n\n{JAVA}\n": "NullPointerException",
        f"{JAVA}\n{interrupted}": "NullPointerException",
    }.items():
        error = last_error(output)
        assert error
        assert error.name == name
    assert last_error(interrupted) is last_error("") is last_error("Error: no\nTraceback") is None


def test_a_module_is_no_part_of_the_name() -> None:
    error = last_error(SYNTAX.replace("SyntaxError", "asyncio.exceptions.InvalidStateError"))
    assert error
    assert error.name == "InvalidStateError"


def test_of_output_without_an_error_the_end_is_quoted() -> None:
    assert own_words("\nusage: server PORT\n") == "usage: server PORT"
    assert own_words("x" * 5000 + "\n") == "x" * 999
    assert own_words("") == ""


def test_the_middle_of_many_lines_is_left_out() -> None:
    frame = '  File "server.py", line 5, in loop\n    loop()\n'
    words = own_words(f"Traceback (most recent call last):\n{frame * 500}RecursionError: too deep\n").splitlines()
    assert (len(words), words[2], words[-1]) == (MAX_LINES, "  ...", "RecursionError: too deep")
