"""What the tests of workers share: jobs, and a log of what a worker tells."""

import asyncio
from collections.abc import Callable
from typing import Any

from jupyter_streaminfer.protocol import Generate, GenerateJob, JobEvent, Tokens
from jupyter_streaminfer.workers import WorkerLostError

NAME = "worker-test"
"""No other test's model, so that its thread can be told from theirs."""

Make = Callable[..., Any]
"""From a model folder and bounds to a worker that is not started yet."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nobody tells."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Log:
    """What a worker tells, callback by callback."""

    def __init__(self) -> None:
        self.callbacks: list[list[JobEvent]] = []
        self.deaths: list[WorkerLostError] = []
        self.changed = asyncio.Event()

    def events(self, events: list[JobEvent]) -> None:
        self.callbacks.append(events)
        self.changed.set()

    def death(self, reason: WorkerLostError) -> None:
        self.deaths.append(reason)
        self.changed.set()

    def all(self) -> list[JobEvent]:
        return [event for events in self.callbacks for event in events]

    def tokens(self, name: str) -> list[int]:
        return [
            token
            for event in self.all()
            if isinstance(event, Tokens) and event.job == name
            for token in event.token_ids
        ]

    async def until(self, kind: type, count: int) -> None:
        while sum(isinstance(event, kind) for event in self.all()) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)

    async def until_death(self) -> WorkerLostError:
        while not self.deaths:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)
        return self.deaths[0]


def job(name: str, tokens: int, **options: object) -> GenerateJob:
    return GenerateJob(name, Generate(name, NAME, prompt="The", max_tokens=tokens, ignore_eos=True, **options), 7)
