"""Have processes end with those that started them, however these end."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG = 1


def detach(lifeline: Connection) -> None:
    """Lead a process group, end at once on a signal, and end when the supervisor does.

    The parent of this process is the fork server, which outlives the supervisor as long as it
    has children. So the supervisor holds the other end of a pipe; when it dies, the kernel sends
    SIGIO, whose default is to end the process, even in the middle of a long computation.

    Parameters
    ----------
    lifeline : Connection
        reading end of a pipe into which nobody writes
    """
    os.setpgid(0, 0)
    # SIGCHLD too: who ignores it is not told how children ended
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGIO, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
    descriptor = lifeline.fileno()
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if lifeline.poll():
        # It died before the kernel was asked to tell.
        os.kill(os.getpid(), signal.SIGKILL)


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, where the kernel is Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
