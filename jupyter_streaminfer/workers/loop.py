"""The step loop: the same one in every placement."""

from __future__ import annotations

import queue
from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

from jupyter_streaminfer.inference.runtime import Gathering, Threaded
from jupyter_streaminfer.protocol import JobEvent, PredictJob
from jupyter_streaminfer.workers.commands import CancelJob, Command, Configure, PauseJob, ResumeJob, Stop

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.runtime import Runtime


class StepLoop:
    """Takes commands and computes steps on the thread that calls `run`; anyone may `put` and read its numbers."""

    def __init__(self, tell: Callable[[list[JobEvent]], None], *, late: bool = False) -> None:
        """``tell`` gets the events of each step, on the loop's thread.

        ``late``: they are told when the next step lets go of the interpreter, for listeners in this process. Told
        earlier they would wake the event loop only to wait for it.
        """
        self.steps = 0
        """How many steps have ended."""
        self.working = False
        """Whether it is anywhere but waiting for something to do."""
        self._tell_events = tell
        self._late = late
        self._events: list[JobEvent] = []
        """What was not told yet."""
        # Not bounded here: the engine admits a bounded number of jobs, and asks a few things of each.
        self._commands: queue.SimpleQueue[list[Command | None]] = queue.SimpleQueue()

    def put(self, command: Command) -> None:
        """Have something done before the next step."""
        self._commands.put([command])

    def put_all(self, commands: list[Command | None]) -> None:
        """The same of several things, in their order; the list is given away."""
        self._commands.put(commands)

    def run(self, runtime: Runtime) -> None:
        """Compute until `Stop`; what a step or a command raises is raised here, once what came before is told."""
        if self._late:
            runtime.before_compute = self._tell
        if isinstance(runtime, Threaded):
            runtime.wake = self._wake
        gathering = runtime if isinstance(runtime, Gathering) else None
        self.working = True
        try:
            while True:
                for kind, commands in groupby(self._asked(runtime.due_in()), type):
                    if kind is Stop:
                        return
                    if gathering is not None and kind is PredictJob:
                        jobs = [command for command in commands if isinstance(command, PredictJob)]
                        self._events += gathering.submit_all(jobs)
                        continue
                    for command in commands:
                        if command is not None:
                            self._do(runtime, command)
                if not self._late:
                    self._tell()
                if runtime.due_in() == 0:
                    brought = runtime.step()
                    self._events += brought  # to the list that is there now: the step has told the one before
                    self.steps += 1
                if not self._late or runtime.due_in() != 0:
                    self._tell()
        except Exception:
            self._tell()
            raise
        finally:
            self.working = False
            if isinstance(runtime, Threaded):
                runtime.close()

    def _wake(self) -> None:
        """Have the runtime asked what is due, on whichever thread this is called."""
        self._commands.put([None])

    def _asked(self, due_in: float | None) -> list[Command | None]:
        """All that was asked since; waits for something to do when there is nothing to compute."""
        commands: list[Command | None] = []
        try:
            if due_in is None or due_in > 0:
                self.working = False
                commands += self._commands.get(timeout=due_in)
            self.working = True
            while True:
                commands += self._commands.get_nowait()
        except queue.Empty:
            self.working = True
            return commands

    def _do(self, runtime: Runtime, command: Command) -> None:
        match command:
            case CancelJob(job):
                runtime.cancel(job)
            case PauseJob(job):
                runtime.pause(job)
            case ResumeJob(job):
                runtime.resume(job)
            case Configure(settings):
                runtime.configure(settings)
            case Stop():
                pass
            case job:
                if event := runtime.submit(job):
                    self._events.append(event)

    def _tell(self) -> None:
        if events := self._events:
            self._events = []
            self._tell_events(events)
