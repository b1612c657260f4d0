"""Run a command of halloo to its end in this process.

For most commands the start of an interpreter, with its imports, takes longer than the rest of the test.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile

import pytest

from halloo._cli.main import main


def halloo(*words: str | Path, input: bytes = b"") -> CompletedProcess[bytes]:  # noqa: A002 - as `subprocess.run` has it
    """Run the command with files as its standard streams; for the main thread, as it handles signals."""
    before = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(buffering=0)) for _ in before]
        files[0].write(input)
        files[0].seek(0)
        sys.stdin, sys.stdout, sys.stderr = (
            stack.enter_context(open(os.dup(file.fileno()), mode, encoding="utf-8"))  # noqa: PTH123 - a descriptor
            for file, mode in zip(files, "rww", strict=True)
        )
        try:
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
        for file in files[1:]:
            file.seek(0)
        code = ended.value.code
        assert isinstance(code, int)
        return CompletedProcess(words, code, files[1].read(), files[2].read())
