"""The engine's part that loads models, has them take over from each other, and frees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import msgspec

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.lag import LoopLag
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.pressure import Pressure
from jupyter_streaminfer.engine.registry import ModelRegistry
from jupyter_streaminfer.engine.reload import Reload
from jupyter_streaminfer.engine.stream_task import CancelReason
from jupyter_streaminfer.protocol import (
    DType,
    LoadModel,
    ModelSettings,
    ModelStatus,
    Placement,
    Signature,
    invalid_request,
)


class LoadOptions(TypedDict, total=False):
    """What may be said of a load beside its name and path: the fields of `LoadModel`."""

    version: str | None
    dtype: DType
    placement: Placement
    signature: Signature | None
    arguments: dict[str, Any]
    pinned: bool
    activate: bool


class Lifecycle:
    """What becomes of models. ``name`` is a model's, ``ref`` also ``name@version`` or ``name@latest``."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._pressure = Pressure(self._worker_pids)
        self._lag = LoopLag()
        self._registry = ModelRegistry(
            config,
            self._on_failed,
            lambda model: self._end_all(model, "unload"),
            lambda model: self._pressure.last.workers.get(model.worker.pid or 0, 0),
        )
        self._reload = Reload(self._registry)

    async def load(self, name: str, path: str | None = None, **options: Unpack[LoadOptions]) -> ModelStatus:
        """Load a model and warm it up, or wait for whoever already does; at once where it is ready.

        ``path`` is a folder, a file or ``module:factory``; without it the model that is loaded under that name is
        meant, else the bundled one. A ``version`` that is not there yet is loaded beside the others.
        """
        return self._registry.status(await self._registry.load(self._asked(name, path, options)))

    async def swap(self, name: str, path: str | None = None, **options: Unpack[LoadOptions]) -> ModelStatus:
        """Load a new version beside the others; when it is ready, requests go to it, unless ``activate`` is False.

        Requests under way end on the version that they began with, which is freed then. Without a ``path`` the files
        of the latest version are read again. A load that fails changes nothing. Of several swaps each has its turn,
        and the one that was asked for last stays.
        """
        return self._registry.status(await self._registry.swap(self._asked(name, path, options)))

    async def rollback(self, name: str) -> ModelStatus:
        """Go back to the version that was the latest before; it is loaded again first where it was freed."""
        self._refuse_when_stopping()
        return self._registry.status(await self._registry.rollback(name))

    async def activate(self, name: str, version: str) -> ModelStatus:
        """Have the requests that name no version go to this one."""
        self._refuse_when_stopping()
        return self._registry.status(await self._registry.activate(name, version))

    async def unload(self, ref: str) -> None:
        """End what a model, or one version of it, is doing, and free it."""
        await self._registry.unload(ref)

    async def configure(self, name: str, settings: ModelSettings) -> ModelStatus:
        """Change what can be changed while a model serves; versions to come get the same."""
        try:
            checked = msgspec.convert(msgspec.to_builtins(settings), ModelSettings)
        except msgspec.ValidationError as error:
            raise invalid_request(error) from None
        return self._registry.status(self._registry.configure(name, checked).newest())

    async def reload(self, models: Mapping[str, LoadModel]) -> list[str]:
        """Have the models be as a configuration says: what is new is loaded, what changed swapped, what went unloaded.

        Models that no configuration loaded are left alone, and one that fails holds up no other. Returns what was
        done, a sentence for each model with which something was.
        """
        self._start()
        return await self._reload.apply(models)

    def models(self) -> list[ModelStatus]:
        """Every version of every model, also those that load, failed, or are known and not loaded."""
        return [self._registry.status(model) for model in self._registry]

    def model(self, ref: str) -> ModelStatus:
        """One of them."""
        return self._registry.status(self._registry.get(ref))

    def _asked(self, name: str, path: str | None, options: LoadOptions) -> LoadModel:
        self._start()
        return LoadModel(name=name, path=path, **options)

    def _start(self) -> None:
        self._refuse_when_stopping()
        self._pressure.start()
        self._lag.start()

    def _worker_pids(self) -> list[int]:
        return [model.worker.pid for model in self._registry if model.worker.pid is not None]

    # What the whole engine knows.

    def _refuse_when_stopping(self) -> None:
        raise NotImplementedError

    def _on_failed(self, model: Model) -> None:
        raise NotImplementedError

    def _end_all(self, model: Model, reason: CancelReason) -> None:
        raise NotImplementedError
