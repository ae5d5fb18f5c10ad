"""What lost models leave behind, and how a test waits until that is nothing."""

import asyncio
import threading
from collections.abc import Callable

import psutil

TIMEOUT_S = 60


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what is told to nobody."""
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def taken() -> dict[str, int]:
    """What this process has that a model which is gone must not have any more."""
    process = psutil.Process()
    return {
        "threads": len([each for each in threading.enumerate() if "pressure" not in each.name]),
        "processes": len(process.children()),
        "descriptors": process.num_fds(),
    }


async def until_no_more_than(before: dict[str, int]) -> None:
    """Wait until this process has no more than it had; less where a model of another test has gone meanwhile."""
    await until(lambda: all(now <= before[what] for what, now in taken().items()))
