"""The models by name and version: which one a request means, what is said where none can answer."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from msgspec import structs

from jupyter_streaminfer.engine.entry import LATEST, Entry
from jupyter_streaminfer.engine.loads import Loads
from jupyter_streaminfer.engine.model import SOON_MS, Model
from jupyter_streaminfer.protocol import ModelSettings, ModelStatus, StreaminferError


class ModelRegistry(Loads):
    """Finds the version that a request means, among those that are loaded."""

    def get(self, ref: str) -> Model:
        """The version that ``name``, ``name@version`` or ``name@latest`` means, in whatever state it is."""
        name, at, version = ref.partition("@")
        entry = self.entry(name)
        return entry.find(version) if at else entry.newest()

    def resolve(self, ref: str, client: str = "", key: str | None = None) -> Model:
        """The version that answers a request; raises `StreaminferError` where none can.

        Who names no version gets the one that the name's route has for the ``key``, or else for the ``client``. One
        that was unloaded as idle is loaded again for whoever asks next; until then the refusal says when to come.
        """
        name, at, version = ref.partition("@")
        entry = self._entries.get(name) or self.entry(name)
        if at:
            model = entry.find(version)
        elif (router := entry.router) is not None:
            model = entry.find(router.choose(client if key is None else key) or LATEST)
        else:
            model = entry.find()
        if model.state != "ready":
            self._refuse(entry, model)
        return model

    def loaded(self, name: str, version: str) -> Model:
        """A version for what is to go on with it and no other, also where it takes no new requests any more."""
        model = self.entry(name).find(version)
        if model.state not in ("ready", "retiring"):
            self._refuse(self._entries[name], model)
        return model

    def status(self, model: Model) -> ModelStatus:
        """A version as the world sees it."""
        entry = self._entries.get(model.spec.name)
        resident = self._resident_bytes(model)
        return entry.status(model, resident) if entry else model.status(latest=False, resident_bytes=resident)

    def _refuse(self, entry: Entry, model: Model) -> NoReturn:
        if model.state == "unloaded" and model.asleep:
            why, model = model.error, self._begin(entry, model.spec, None, model)
            model.error = why  # such as that there was no room, the last time
        name = f"{entry.name}@{model.spec.version}"
        if model.state in ("retiring", "unloaded") and model.error is None:
            latest = f"; {entry.name!r} is version {entry.latest} now" if entry.latest else ""
            raise StreaminferError(
                "model_not_ready",
                f"Model {name!r} is {model.state}, as it was replaced{latest}. Ask that, or activate this version.",
                field="model",
            )
        reason = f": {model.error.message}" if model.error else ""
        soon = model.state in ("loading", "restarting") or (model.state == "unloading" and model.asleep)
        raise StreaminferError(
            "model_not_ready",
            f"Model {name!r} is {model.state}{reason}",
            field="model",
            retryable=soon,
            retry_after_ms=(model.retry_after_ms() if model.state != "unloading" else SOON_MS) if soon else None,
        )

    def configure(self, name: str, settings: ModelSettings) -> Entry:
        """Change how the versions of a name are kept and batched; raises `StreaminferError` where that cannot be."""
        entry = self.entry(name)
        for model in entry:
            if model.info is not None:
                _check_settings(model, settings)
        entry.configure(settings)
        if structs.replace(settings, pinned=None) != ModelSettings():
            for model in entry:
                model.configure(entry.settings)
        return entry

    async def unload(self, ref: str) -> None:
        """End what a version, or all of a name's, is doing, stop its worker and forget it."""
        name, at, version = ref.partition("@")
        entry = self.entry(name)
        models = [entry.find(version)] if at else list(entry)
        if at:
            self._refuse_needed(entry, models[0])
        await asyncio.gather(*(self._remove(entry, model) for model in models))

    def _refuse_needed(self, entry: Entry, model: Model) -> None:
        version = model.spec.version
        if version == entry.latest and len(entry.versions) > 1:
            others = ", ".join(each for each in entry.versions if each != version)
            raise StreaminferError(
                "invalid_request",
                f"Version {version} is the latest of model {entry.name!r}. Activate another one first ({others}), roll "
                f"back, or unload {entry.name!r} with all its versions.",
                field="model",
            )
        if entry.router is not None and version in entry.router.versions:
            raise StreaminferError(
                "invalid_request",
                f"The route of model {entry.name!r} names version {version}. Change or remove the route first.",
                field="model",
            )


def _check_settings(model: Model, settings: ModelSettings) -> None:
    """Raise `StreaminferError` where a model's batcher cannot do as the settings say."""
    info = model.info
    if info is None or structs.replace(settings, pinned=None) == ModelSettings():
        return
    if info.task != "predict":
        raise StreaminferError(
            "invalid_request",
            f"Model {model.spec.name!r} is for the task {info.task!r} and batches by itself: only pinned can be set.",
        )
    if settings.max_batch_size is not None and settings.max_batch_size > info.max_batch_size:
        raise StreaminferError(
            "invalid_request",
            f"max_batch_size: model {model.spec.name!r} was loaded for batches of {info.max_batch_size} rows at most "
            "(the server's c.StreaminferApp.max_batch_size).",
            field="max_batch_size",
        )
