"""Processes under measurement: what a tree of them takes, and making one stand still. Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in path.read_text().split()]
    return found


def memory(pid: int) -> dict[str, float]:
    """MiB of the tree: the sum of each process' highest RSS so far, and the PSS now (shared pages counted once)."""
    peak = proportional = 0
    for each in tree(pid):
        peak += _kilobytes(each, "status", "VmHWM:")
        proportional += _kilobytes(each, "smaps_rollup", "Pss:")
    return {"peak_rss_mib": round(peak / 1024, 1), "pss_mib": round(proportional / 1024, 1)}


def _kilobytes(pid: int, file: str, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    """What the tree has computed so far."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def two_cores() -> tuple[list[int], list[int]]:
    """One for the server and one for all that asks it, where they can be chosen; none otherwise."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        return [], []
    server, others, *_ = sorted(os.sched_getaffinity(0))
    return [server], [others]


def keep_to(pid: int, cores: list[int]) -> None:
    """Have all threads that the process has so far compute on these cores only."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def suspend(pid: int) -> None:
    """Stop the tree where it is: an idle peer that spins must not take a core from the one that is measured."""
    _signal(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """Let it go on."""
    _signal(pid, signal.SIGCONT)


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """Ask the process to end; what is left of its tree after that time is ended."""
    family = tree(process.pid)
    process.terminate()
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(_lives, family)):
        process.poll()
        time.sleep(0.05)
    for each in filter(_lives, family):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait()


def _lives(pid: int) -> bool:
    """Whether it is there, and not only for its parent to ask how it ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    for each in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)
