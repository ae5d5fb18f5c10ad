"""The models: which are loaded, and what becomes of a load that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.folder import model_folder
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.protocol import LoadModel, Placement, StreaminferError
from jupyter_streaminfer.workers import ModelSpec

DEFAULT_PLACEMENT: Placement = "process"
"""Where a model computes when nobody says: `docs/workers.md` has the measurements that decided it."""
RESTART_MS = 1000.0
"""When to ask again for a model whose worker is being started."""


class ModelRegistry:
    """The models by name. A name is loaded once at a time; whoever asks meanwhile waits for that same load."""

    def __init__(self, config: EngineConfig, on_failed: Callable[[Model], None]) -> None:
        """``on_failed`` is told of a model that was ready and can compute no more."""
        self._config = config
        self._on_failed = on_failed
        self._models: dict[str, Model] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}

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
            soon = model.state in ("loading", "restarting")
            raise StreaminferError(
                "model_not_ready",
                f"Model {name!r} is {model.state}{reason}",
                field="model",
                retryable=soon,
                retry_after_ms=RESTART_MS if soon else None,
            )
        return model

    async def load(self, request: LoadModel) -> Model:
        """The model of that name, loaded and warmed up; at once where it already is.

        Raises `StreaminferError` with the reason when it cannot be loaded. A caller that gives up
        leaves the load to the others and to later ones.
        """
        name = request.name
        model = self._models.get(name)
        if model is not None and model.state != "failed":
            _refuse_another(model, request)
        else:
            spec = self._spec(request)
            if model is None and len(self._models) >= self._config.max_models:
                raise StreaminferError(
                    "overloaded",
                    f"{self._config.max_models} models are loaded, the most this engine keeps. Unload one first.",
                )
            model = self._models[name] = Model(spec, self._on_failed)
            task = self._loads[name] = asyncio.create_task(model.load())
            task.add_done_callback(lambda task: self._loaded(name, task))
        if (load := self._loads.get(name)) is not None:
            await asyncio.shield(load)
        return model

    def _loaded(self, name: str, load: asyncio.Task[None]) -> None:
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
            await model.stop()
        if self._models.get(name) is model:
            del self._models[name]

    def _spec(self, request: LoadModel) -> ModelSpec:
        folder = model_folder(request.name, request.path)
        placement = request.placement if request.placement != "auto" else self._config.placement
        placement = placement if placement != "auto" else DEFAULT_PLACEMENT
        return ModelSpec(request.name, "1", folder, request.dtype, placement, self._config)


def _refuse_another(model: Model, request: LoadModel) -> None:
    """Raise `StreaminferError` where a model that is there cannot be the answer to a load of its name."""
    name = model.spec.name
    if model.state == "unloading":
        raise StreaminferError(
            "model_not_ready", f"Model {name!r} is being unloaded. Try again in a moment.", retryable=True
        )
    if request.path is not None and model_folder(name, request.path) != model.spec.path:
        raise _another(name, "path", f"from {model.spec.path}")
    if request.dtype not in ("auto", model.spec.dtype, model.info.dtype if model.info else "auto"):
        raise _another(name, "dtype", f"with dtype {model.spec.dtype!r}")
    if request.placement not in ("auto", model.spec.placement):
        raise _another(name, "placement", f"in a {model.spec.placement}")


def _another(name: str, field: str, how: str) -> StreaminferError:
    return StreaminferError(
        "invalid_request", f"Model {name!r} is loaded {how}. Unload it first, or use another name.", field=field
    )
