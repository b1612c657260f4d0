"""Run C18 and C19 against a client: `python -m tests._check.client.families COMMAND`.

Some machines resolve localhost to one address family only; the test mounts a hosts file with both for this process.
"""

import sys

from halloo._check.client.cases import wire
from halloo._check.execution import RunOptions, run_case
from halloo._check.spec import ClientSpec

HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
# unshare(1): new user and mount namespaces; $0 is the hosts file, "$@" the command.
IN_BOTH_FAMILIES = ("unshare", "-rm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')

if __name__ == "__main__":
    subject = ClientSpec(command=tuple(sys.argv[1:]), stdin="pipe")
    for case in (wire.c18_only_v4, wire.c19_only_v6):
        result = run_case(case, subject, RunOptions())
        print(case.id, result.verdict)
