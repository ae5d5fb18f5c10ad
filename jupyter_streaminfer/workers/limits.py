"""What a worker process does to itself, so that it harms neither the server nor the machine, and is gone with it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

NICENESS = 10
"""The event loop and the kernels go first."""
OOM_SCORE = 500
"""How much more willingly than the server the kernel takes the process when memory runs out, of 1000."""


def keep_lifeline() -> None:
    """Die when the server does, even in native code that never lets go of the interpreter.

    Standard input is a pipe whose other end the server holds. Here the kernel signals its end to the process, which
    dies of it. ``PR_SET_PDEATHSIG`` would not do: it fires when the *thread* ends that started the process. Elsewhere,
    and where a fork of the server keeps the pipe open, the process finds out by itself, in Python.
    """
    if sys.platform != "win32":
        # Ctrl-C, or a terminal that closes, reaches the whole group: the server decides what comes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def keep_limits(memory_bytes: int) -> None:
    """Bound the memory (0: not; Linux only), leave no core dump, and go first when the machine runs out of it."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        if memory_bytes:
            # Data, not address space: torch maps far more than it ever uses.
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        score = Path("/proc/self/oom_score_adj")
        with contextlib.suppress(OSError):  # some containers hide it
            score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))


def give_way() -> None:
    """Compute at a lower priority than the server and the kernels, with all threads that there are.

    For steps, not for the load before them: at this priority that takes half a minute instead of a few seconds beside
    kernels that use every core, and streams that lost their worker wait for it.
    """
    if sys.platform == "linux":  # where each thread has a priority of its own, which new ones inherit
        lower = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread), lower)
    elif sys.platform != "win32":
        os.nice(NICENESS)
