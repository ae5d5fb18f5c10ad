"""Room for models: those that nobody uses make way for others, or are unloaded after a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.entry import Entry
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.workers import ModelSpec

WEIGHTS = (".safetensors", ".bin", ".pt", ".pt2", ".pth", ".ts", ".skops")
"""How the names of files end whose size is what a model takes at least."""
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.02, 30.0
"""How often models are looked at for being idle, whatever the time is after which they are."""


class Eviction:
    """Unloads idle models, the least recently used first; pinned ones and those with requests stay."""

    def __init__(
        self,
        config: EngineConfig,
        entries: Callable[[], Iterable[Entry]],
        resident_bytes: Callable[[Model], int],
        put_to_sleep: Callable[[Model], Awaitable[None]],
    ) -> None:
        """``resident_bytes`` says what a model's process has; ``put_to_sleep`` unloads a model that nobody uses."""
        self._config = config
        self._entries = entries
        self._resident_bytes = resident_bytes
        self._put_to_sleep = put_to_sleep
        self._making_room = asyncio.Lock()
        """One load at a time counts what is taken, and takes its part."""
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for idle models from now on, where they are to be unloaded."""
        if self._config.idle_unload_s and self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None

    async def make_room(self, entry: Entry, model: Model) -> None:
        """Let a model in that is about to be loaded, and unload idle ones of other names for it.

        Raises `StreaminferError` ``overloaded`` where that is not enough, and unloads none then.
        """
        if not (budget := self._config.max_models_bytes):
            return
        needed = model.reserved_bytes or await asyncio.to_thread(expected_bytes, model.spec)
        async with self._making_room:
            model.reserved_bytes = needed
            excess = self._taken() - budget
            idle = self._idle(besides=entry)
            if excess > sum(map(self._bytes, idle)):
                model.reserved_bytes = 0
                raise StreaminferError(
                    "overloaded",
                    f"Model {model.spec.name!r} takes about {needed} bytes, and all models together may take {budget} "
                    f"(the server's c.StreaminferApp.max_models_bytes); {self._who()}. Unload one, unpin one, or wait "
                    "until one is idle.",
                    retryable=needed <= budget,
                )
            await self._free(excess, idle)

    async def settle(self, entry: Entry, model: Model) -> None:
        """Note what a model takes now that it is loaded; where that is more than was thought, others make way."""
        if budget := self._config.max_models_bytes:
            async with self._making_room:
                model.reserved_bytes = self._loaded_bytes(model)
                await self._free(self._taken() - budget, self._idle(besides=entry))

    async def _free(self, excess: int, idle: list[Model]) -> None:
        for model in idle:
            if excess <= 0:
                return
            excess -= self._bytes(model)
            await self._put_to_sleep(model)

    async def _watch(self) -> None:
        patience = self._config.idle_unload_s
        while True:
            await asyncio.sleep(min(LONGEST_LOOK_S, max(SHORTEST_LOOK_S, patience / 4)))
            latest = time.monotonic() - patience
            for model in self._idle():
                if model.used <= latest and not model.active:
                    await self._put_to_sleep(model)

    def _idle(self, besides: Entry | None = None) -> list[Model]:
        """The models that could be unloaded, the least recently used first."""
        models = [
            model
            for entry in self._entries()
            if entry is not besides and not entry.pinned
            for model in entry
            if model.state == "ready" and not model.active
        ]
        return sorted(models, key=lambda model: model.used)

    def _taken(self) -> int:
        return sum(self._bytes(model) for entry in self._entries() for model in entry)

    def _bytes(self, model: Model) -> int:
        return max(model.reserved_bytes, self._loaded_bytes(model)) if model.loaded else 0

    def _loaded_bytes(self, model: Model) -> int:
        return model.memory_bytes(self._resident_bytes(model))

    def _who(self) -> str:
        """Who has how much, and why it keeps that."""
        found = [
            f"{model.spec.name}@{model.spec.version} has {taken}"
            + (" (pinned)" if entry.pinned else f" ({model.active} requests)" if model.active else "")
            for entry in self._entries()
            for model in entry
            if model.state != "loading" and (taken := self._bytes(model))
        ]
        return ", ".join(found) or "none is loaded"


def expected_bytes(spec: ModelSpec) -> int:
    """What a model will take at least, by its files: its weights, and its KV cache where it generates."""
    path = Path(spec.path)
    with contextlib.suppress(OSError):
        if path.is_file():
            return path.stat().st_size
        weights = sum(each.stat().st_size for each in path.iterdir() if each.suffix in WEIGHTS)
        return weights + (spec.bounds.cache_bytes if _generates(path / "config.json") else 0)
    return 0


def _generates(config: Path) -> bool:
    try:
        architectures = json.loads(config.read_bytes())["architectures"]
        return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
