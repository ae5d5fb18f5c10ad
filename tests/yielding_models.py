"""Factories of models that yield, for tests that load one by its name: ``yielding_models:NAME``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

FACTORIES = "yielding_models:*"
"""What a configuration is to allow for them."""


def story() -> Callable[[Any], Iterator[Any]]:
    """Brings what its inputs say: each of a list, in order."""

    def tell(inputs: list[Any]) -> Iterator[Any]:
        yield from inputs

    return tell


def counter() -> Callable[[Any], AsyncIterator[Any]]:
    """Counts to its inputs, asynchronously, as progress."""

    async def count(inputs: int) -> AsyncIterator[Any]:
        for step in range(inputs):
            await asyncio.sleep(0)
            yield {"progress": (step + 1) / inputs, "message": f"step {step + 1}"}

    return count


def endless() -> Callable[[Any], Iterator[Any]]:
    """Counts without an end; it writes how far it is into the file that its inputs name, if any, and ``closed``."""

    def count(inputs: str | None) -> Iterator[Any]:
        value = 0
        try:
            while True:
                if inputs:
                    Path(inputs).write_text(str(value))
                yield {"value": value}
                value += 1
        finally:
            if inputs:
                Path(inputs).write_text(f"closed at {value}")

    return count


def chatter() -> Callable[[Any], Iterator[Any]]:
    """Yields texts without an end, as long as its inputs say."""

    def chat(inputs: int) -> Iterator[Any]:
        while True:
            yield "x" * inputs

    return chat


def breaker() -> Callable[[Any], Iterator[Any]]:
    """Ends its worker after so many values; with ``once``, the name of a file, only where that is not there yet."""

    def work(inputs: dict[str, Any]) -> Iterator[Any]:
        for value in range(inputs["after"]):
            yield value
            time.sleep(inputs.get("pause_s", 0.0))
        once = inputs.get("once")
        if once is None or not Path(once).exists():
            if once is not None:
                Path(once).touch()
            os._exit(9)
        yield "survived"

    return work


def silent() -> Callable[[Any], AsyncIterator[Any]]:
    """Yields what its inputs say and then nothing more, without an end."""

    async def wait(inputs: list[Any]) -> AsyncIterator[Any]:
        for value in inputs:
            yield value
        await asyncio.Event().wait()

    return wait


def raiser() -> Callable[[Any], Iterator[Any]]:
    """Raises after one value and one text."""

    def work(inputs: Any) -> Iterator[Any]:
        yield {"loss": 1.0}
        yield "so far "
        raise ZeroDivisionError("nothing to divide by")

    return work
