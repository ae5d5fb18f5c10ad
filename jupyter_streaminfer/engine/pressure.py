"""How full the machine is: memory, and GPUs where there are any, looked at once a second beside the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from jupyter_streaminfer.engine.gpus import Gpus
from jupyter_streaminfer.engine.memory import Memory, process_bytes

PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen at one moment; parts are 0 to 1."""

    memory_used: float = 0.0
    """Of the container's memory where that is limited, else of the machine's."""
    memory_bytes: int = 0
    """Of this process and its workers."""
    workers: Mapping[int, int] = field(default_factory=dict)
    """Of each worker by its process id; those that were not there yet, or are gone, are not in it."""
    gpu_utilisation: float | None = None
    gpu_memory_used: float | None = None


class Pressure:
    """Keeps what was seen last at hand: ``last`` costs nothing to read."""

    def __init__(self, workers: Callable[[], Iterable[int]] = tuple) -> None:
        """``workers`` says the process ids of the workers; it is called where `start` and `sample` are."""
        self.last = Load()
        self._workers = workers
        self._memory = Memory()
        self._gpus: Gpus | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._looking: asyncio.Future[Load] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now and once a second from now on, in a thread beside the running loop, until `stop`."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "streaminfer-pressure")
            self._tick(self._executor)

    def stop(self) -> None:
        """Look no more; whoever looks just now is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
        for pending in (self._looking, self._timer):
            if pending is not None:
                pending.cancel()
        self._looking = self._timer = None

    def sample(self) -> Load:
        """Look now, in this thread; it takes a millisecond, the first time a while where there is a GPU."""
        self.last = self._look(list(self._workers()))
        return self.last

    def _tick(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._looking = loop.run_in_executor(executor, self._look, list(self._workers()))
        except RuntimeError:
            # The interpreter is on its way out, and starts nothing any more.
            return
        self._looking.add_done_callback(lambda seen: self._seen(loop, executor, seen))

    def _seen(self, loop: asyncio.AbstractEventLoop, executor: ThreadPoolExecutor, seen: asyncio.Future[Load]) -> None:
        if self._executor is executor and not seen.cancelled():
            self._timer = loop.call_later(PERIOD_S, self._tick, executor)
            self.last = seen.result()

    def _look(self, workers: list[int]) -> Load:
        if self._gpus is None:  # not before, as it may take long to reach the driver
            self._gpus = Gpus()
        taken = process_bytes(workers)
        own, utilisation, used = taken.pop(os.getpid(), 0), self._gpus.utilisation(), self._gpus.memory_used()
        return Load(self._memory.used(), own + sum(taken.values()), taken, utilisation, used)
