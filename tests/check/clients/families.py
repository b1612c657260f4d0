"""Asks a client C18 and C19 where localhost has two families: `python -m tests.check.clients.families COMMAND`.

A machine may know the name in one family only; a file of hosts of its own is mounted for this process alone.
"""

import sys

from halloo.check.clients import wire
from halloo.check.clients.asking import ask_client
from halloo.check.clients.subject import ClientSubject
from halloo.check.runner import Trial

HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
# unshare(1): a user and a mount namespace; $0 is the file, the rest the command.
IN_BOTH_FAMILIES = ("unshare", "-rm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')

if __name__ == "__main__":
    subject = ClientSubject(command=tuple(sys.argv[1:]), stdin="pipe")
    for case in (wire.c18_only_v4, wire.c19_only_v6):
        result = ask_client(case, subject, Trial())
        print(case.id, result.verdict)
