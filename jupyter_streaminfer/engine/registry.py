"""The models: which are loaded, where they compute, and what becomes of a load that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.protocol import (
    NAME_PATTERN,
    DType,
    ErrorInfo,
    JobEvent,
    ModelInfo,
    ModelStatus,
    StreaminferError,
)
from jupyter_streaminfer.workers import ModelSpec, ThreadWorker, Worker

BUNDLED = Path(__file__).parents[1] / "models"
"""The models that come with the package, a folder each."""


@dataclass(eq=False)
class Model:
    """One entry of the registry: a version of a model and the worker that computes it."""

    spec: ModelSpec
    worker: Worker
    state: Literal["loading", "ready", "failed", "unloading"] = "loading"
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    loaded_ms: float = 0.0
    active: int = 0
    requests: int = 0

    def status(self) -> ModelStatus:
        """The entry as the world sees it."""
        return ModelStatus(
            name=self.spec.name,
            version=self.spec.version,
            state=self.state,
            path=str(self.spec.path),
            placement=self.worker.placement,
            loaded_ms=round(self.loaded_ms, 1),
            active=self.active,
            requests=self.requests,
            info=self.info,
            error=self.error,
            stats=self.worker.stats(),
        )


OnModelEvents = Callable[[Model, list[JobEvent]], None]
OnModelDeath = Callable[[Model], None]


class ModelRegistry:
    """The models by name. A name is loaded once at a time; whoever asks meanwhile waits for that same load."""

    def __init__(self, config: EngineConfig, on_events: OnModelEvents, on_death: OnModelDeath) -> None:
        self._config = config
        self._on_events = on_events
        self._on_death = on_death
        self._models: dict[str, Model] = {}
        self._loads: dict[str, asyncio.Task[Model]] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self._models.values()))

    def get(self, name: str) -> Model:
        """The entry of that name; raises `StreaminferError` ``model_not_found``."""
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(sorted(self._models)) or "none"
            raise StreaminferError(
                "model_not_found",
                f"No model {name[:64]!r} is loaded (loaded: {known}). Load it first, with client.load(name) or "
                "POST api/models.",
                field="model",
            ) from None

    def ready(self, name: str) -> Model:
        """The entry of that name if it can answer; raises `StreaminferError` ``model_not_ready`` otherwise."""
        model = self.get(name)
        if model.state != "ready":
            reason = f": {model.error.message}" if model.error else ""
            raise StreaminferError(
                "model_not_ready",
                f"Model {name!r} is {model.state}{reason}",
                field="model",
                retryable=model.state == "loading",
            )
        return model

    async def load(self, name: str, path: str | None, dtype: DType = "auto") -> Model:
        """The model of that name, loaded and warmed up; at once where it already is.

        Raises `StreaminferError` with the reason when it cannot be loaded. A caller that gives up
        leaves the load to the others and to later ones.
        """
        model = self._models.get(name)
        if model is not None and model.state != "failed":
            _refuse_another(model, path, dtype)
        else:
            folder = _folder(name, path)
            if model is None and len(self._models) >= self._config.max_models:
                raise StreaminferError(
                    "overloaded",
                    f"{self._config.max_models} models are loaded, the most this engine keeps. Unload one first.",
                )
            model = self._models[name] = self._new(name, folder, dtype)
            task = self._loads[name] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda task: self._loaded(name, task))
        load = self._loads.get(name)
        return model if load is None else await asyncio.shield(load)

    def _loaded(self, name: str, load: asyncio.Task[Model]) -> None:
        del self._loads[name]
        if not load.cancelled():
            # Read here, so that a failure whose callers have all gone is not reported as a lost exception.
            load.exception()

    async def unload(self, model: Model) -> None:
        """Stop a model's worker and forget it; a load under way is waited for."""
        name = model.spec.name
        if load := self._loads.get(name):
            await asyncio.wait([load])
        if model.state != "failed":
            model.state = "unloading"
            await model.worker.stop()
        if self._models.get(name) is model:
            del self._models[name]

    def _new(self, name: str, folder: Path, dtype: DType) -> Model:
        spec = ModelSpec(name, "1", folder, dtype, self._config)
        return Model(spec, ThreadWorker(spec))

    async def _load(self, model: Model) -> Model:
        began = time.monotonic()
        try:
            model.info = await model.worker.start(
                lambda events: self._on_events(model, events), lambda reason: self._died(model, reason)
            )
        except StreaminferError as error:
            model.error = error.info
            model.state = "failed"
            raise
        model.loaded_ms = (time.monotonic() - began) * 1000
        model.state = "ready"
        return model

    def _died(self, model: Model, reason: Exception) -> None:
        model.state = "failed"
        model.error = ErrorInfo(
            "worker_lost",
            f"The worker of model {model.spec.name!r} stopped: {type(reason).__name__}: {reason}. Load it again.",
        )
        self._on_death(model)


def _refuse_another(model: Model, path: str | None, dtype: DType) -> None:
    """Raise `StreaminferError` where a model that is there cannot be the answer to a load of its name."""
    name = model.spec.name
    if model.state == "unloading":
        raise StreaminferError(
            "model_not_ready", f"Model {name!r} is being unloaded. Try again in a moment.", retryable=True
        )
    if path is not None and _folder(name, path) != model.spec.path:
        raise StreaminferError(
            "invalid_request",
            f"Model {name!r} is loaded from {model.spec.path}. Unload it first, or use another name.",
            field="path",
        )
    if dtype not in ("auto", model.spec.dtype, model.info.dtype if model.info else "auto"):
        raise StreaminferError(
            "invalid_request",
            f"Model {name!r} is loaded with dtype {model.spec.dtype!r}. Unload it first, or use another name.",
            field="dtype",
        )


def _folder(name: str, path: str | None) -> Path:
    """Where the model's files are; raises `StreaminferError` for a name or a folder that cannot be one."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise StreaminferError(
            "invalid_request",
            "A model's name is 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit.",
            field="name",
        )
    if path is None:
        folder = BUNDLED / name
        if not (folder / "config.json").is_file():
            bundled = ", ".join(sorted(each.parent.name for each in BUNDLED.glob("*/config.json")))
            raise StreaminferError(
                "model_not_found",
                f"No model {name!r} comes with the package (those that do: {bundled}). Give a folder's path.",
                field="name",
            )
        return folder
    if "\0" in path:
        raise StreaminferError("invalid_request", "A path cannot hold a null character.", field="path")
    folder = Path(path).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise StreaminferError(
            "invalid_request",
            f"{folder} is no model folder: it has no config.json. Give a folder in the Hugging Face layout.",
            field="path",
        )
    return folder
