"""Hide what Windows lacks in this process from everything imported after: `python -m pytest -p` or `import`.

Hides what the standard library documents as "Availability: Unix"; halloo must not be imported yet. The system's socket
behaviour, `os.name` and `sys.platform` stay as they are.
"""

import importlib
import os
import select
import selectors
import signal
import socket
import sys
from types import ModuleType

import psutil  # noqa: F401 - which the tests look with: made for this system, it would miss what is hidden

assert "halloo" not in sys.modules, "too late: halloo has already seen what there is"

MISSING: dict[ModuleType | type, str] = {
    os: (
        "fork forkpty register_at_fork wait waitid wait3 wait4 killpg setsid getuid geteuid "
        "readv writev preadv pwritev sendfile splice openpty login_tty"
    ),
    select: "epoll poll EPOLLIN EPOLLOUT EPOLLEXCLUSIVE POLLIN POLLOUT POLLERR POLLHUP POLLNVAL",
    socket: "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL SOCK_NONBLOCK SOCK_CLOEXEC send_fds recv_fds CMSG_LEN",
    signal: "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGCHLD SIGALRM SIGPIPE SIGWINCH setitimer alarm pause sigwait",
}
METHODS = "recvmsg recvmsg_into sendmsg sendmsg_afalg"  # of a socket
MODULES = "readline fcntl termios tty pty resource"


class _Hidden:
    """Hides an attribute of the class, which cannot be deleted."""

    def __get__(self, instance: object, owner: type) -> object:
        raise AttributeError("Windows has no such method")


def _socketpair() -> tuple[socket.socket, socket.socket]:
    """Connect two sockets over loopback, as the standard library does on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def pytest_report_header() -> str:
    return f"as on Windows: {selectors.DefaultSelector.__name__}, no fork, no epoll, no unix sockets"


for home, names in MISSING.items():
    for name in names.split():
        if hasattr(home, name):
            delattr(home, name)
for name in METHODS.split():
    setattr(socket.socket, name, _Hidden())
for name in MODULES.split():
    sys.modules[name] = None  # type: ignore[assignment] # makes the import fail
socket.socketpair = _socketpair  # type: ignore[assignment] # without the arguments that are not used here
importlib.reload(selectors)  # it chose the best selector at its first import
