"""What a configuration says of models, and what has to be done so that it is so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping

from msgspec import structs

from jupyter_streaminfer.engine.registry import ModelRegistry
from jupyter_streaminfer.protocol import LoadModel, ModelSettings, StreaminferError

_log = logging.getLogger(__name__)


class Reload:
    """Remembers what configurations loaded: the rest is somebody's own, and left alone."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._configured: dict[str, LoadModel] = {}
        """As it was applied last."""
        self._failed: set[str] = set()
        """Those of which that failed: they are tried again."""
        self._one_at_a_time = asyncio.Lock()

    async def apply(self, models: Mapping[str, LoadModel]) -> list[str]:
        """Load, swap and unload; a sentence for each model with which something was done, or could not be."""
        async with self._one_at_a_time:
            wanted = {name: structs.replace(model, name=name) for name, model in models.items()}
            gone = [self._said(name, self._unload(name)) for name in self._configured if name not in wanted]
            # What goes makes room for what comes.
            done = list(await asyncio.gather(*gone))
            done += await asyncio.gather(*(self._said(name, self._become(model)) for name, model in wanted.items()))
            return [sentence for sentence in done if sentence]

    async def _said(self, name: str, doing: Coroutine[None, None, str]) -> str:
        try:
            done = await doing
            self._failed.discard(name)
            return done
        except StreaminferError as error:
            self._failed.add(name)
            _log.error("Model %r is not as it is configured: %s", name, error)
            return f"Model {name!r} is not as it is configured: {error}"

    async def _unload(self, name: str) -> str:
        del self._configured[name]
        self._failed.discard(name)
        if not self._there(name):
            return ""
        await self._registry.unload(name)
        return f"Model {name!r} was unloaded."

    async def _become(self, model: LoadModel) -> str:
        before, self._configured[model.name] = self._configured.get(model.name), model
        if not self._there(model.name) or self._registry.get(model.name).state == "failed":
            loaded = await self._registry.load(model)
            return f"Model {model.name!r} was loaded (version {loaded.spec.version})."
        if before is None:
            return await self._adopt(model)
        done = ""
        if model.pinned != before.pinned:
            self._registry.configure(model.name, ModelSettings(pinned=model.pinned))
            done = f"Model {model.name!r} is {'pinned' if model.pinned else 'no longer pinned'} now."
        if structs.replace(model, pinned=before.pinned) != before or model.name in self._failed:
            done = await self._swap(model)
        return done

    async def _adopt(self, model: LoadModel) -> str:
        """Somebody has loaded it already: as it is configured, or it has to be swapped."""
        try:
            await self._registry.load(model)
        except StreaminferError as error:
            if error.code != "invalid_request":
                raise
            return await self._swap(model)
        return ""

    async def _swap(self, model: LoadModel) -> str:
        loaded = await self._registry.swap(model)
        return f"Model {model.name!r} was swapped: it is version {loaded.spec.version} now."

    def _there(self, name: str) -> bool:
        return any(model.spec.name == name for model in self._registry)
