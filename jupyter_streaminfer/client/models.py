"""The calls that load, replace, route and free models."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypedDict, Unpack, cast

from jupyter_streaminfer.client.calls import Calls
from jupyter_streaminfer.client.progress import Report, Step, polled, run_with_bar
from jupyter_streaminfer.client.status import ModelTable, RouteReport
from jupyter_streaminfer.protocol import (
    Arm,
    Canary,
    DType,
    LoadModel,
    LoadVersion,
    ModelSettings,
    ModelStatus,
    Placement,
    Reloaded,
    Route,
    Shadow,
    Signature,
    StreaminferError,
)

Path = str | os.PathLike[str]


class VersionOptions(TypedDict, total=False):
    """The fields of `protocol.LoadVersion`, which explains them, as Python hands them in."""

    version: str | None
    dtype: DType
    placement: Placement
    signature: Signature | Mapping[str, Any] | None
    arguments: Mapping[str, Any]
    activate: bool


class ModelCalls(Calls):
    """Of a client: models and their versions."""

    def load(
        self,
        name: str,
        path: Path | None = None,
        *,
        pinned: bool = False,
        progress: bool = True,
        **options: Unpack[VersionOptions],
    ) -> ModelStatus:
        """Load a model and wait until it is warmed up; at once where it already is.

        ``path``: a model folder or file, as the server sees it, or ``module:factory``; one that is here is meant
        where it is relative. Without it: the bundled model ``name``. ``dtype``: what its weights are kept in,
        ``auto`` being what they are stored in; ``int8`` is smaller, faster and less exact; ``bfloat16`` asked for by
        name computes in it as well, where that is faster. ``placement``: whether it computes in a ``thread`` or a
        ``process`` of its own, ``auto`` being as the server is configured. ``pinned``: never unloaded by itself. A load
        of more than half a second shows a bar of its ``progress``. Interrupting the wait leaves the load under way.
        """
        request = LoadModel(name=name, pinned=pinned, **_version(path, options))
        return self._load(name, lambda: self._transport.load(request), progress)

    def swap(
        self, name: str, path: Path | None = None, *, progress: bool = True, **options: Unpack[VersionOptions]
    ) -> ModelStatus:
        """Load a new version beside the one that serves; requests go over to it once it is ready.

        What is under way ends on the old version, which is freed then. A version that cannot be loaded leaves the old
        one serving. With ``activate=False`` the new one only stands by. Everything else as in `load`.
        """
        if hasattr(path, "state_dict"):
            raise StreaminferError(
                "invalid_request", "path: this is a module, not where one lies; client.publish takes it.", field="path"
            )
        request = LoadVersion(**_version(path, options))
        return self._load(name, lambda: self._transport.swap(name, request), progress)

    def rollback(self, name: str, *, progress: bool = True) -> ModelStatus:
        """Go back to the version that was the latest before, loading it again if it was freed."""
        return self._load(name, lambda: self._transport.rollback(name), progress)

    def activate(self, name: str, version: str) -> ModelStatus:
        """Make a version that stands by the latest one: from now on requests that name no version go to it."""
        return self._load(name, lambda: self._transport.activate(name, version), False)

    def unload(self, name: str) -> None:
        """End a model's streams and free it; ``name@version`` frees that version alone."""
        self._call(self._transport.unload(name))

    def configure(
        self,
        name: str,
        *,
        pinned: bool | None = None,
        max_batch_size: int | None = None,
        max_wait_ms: float | None = None,
        preferred_batch_sizes: list[int] | None = None,
        latency_target_ms: float | None = None,
    ) -> ModelStatus:
        """Change how a model serves, while it does; what is not given stays. `protocol.ModelSettings` explains."""
        settings = ModelSettings(pinned, max_batch_size, max_wait_ms, preferred_batch_sizes, latency_target_ms)
        return self._call(self._transport.configure(name, settings))

    def route(
        self,
        name: str,
        arms: Mapping[str, float] | None,
        *,
        canary: Canary | Mapping[str, Any] | None = None,
        shadow: Shadow | Mapping[str, Any] | str | None = None,
    ) -> RouteReport:
        """Split the requests that name no version, such as ``{"1": 0.9, "2": 0.1}``; None ends the split.

        A client, or whatever request's ``key`` it is, stays with its version. ``canary``: a version on trial beside
        the arms (`protocol.Canary`). ``shadow``: a version that is asked too and only compared (`protocol.Shadow`).
        """
        route = None
        if arms is not None:
            split = [Arm(version, weight) for version, weight in arms.items()]
            trial = Canary(**canary) if isinstance(canary, Mapping) else canary
            shadow = {"version": shadow} if isinstance(shadow, str) else shadow
            route = Route(split, trial, Shadow(**shadow) if isinstance(shadow, Mapping) else shadow)
        return RouteReport.of(self._call(self._transport.route(name, route)))

    def routed(self, name: str) -> RouteReport:
        """How a model's requests are split, and what each version did with its part."""
        return RouteReport.of(self._call(self._transport.routed(name)))

    def reload(self) -> Reloaded:
        """Have the server read its configuration again, and load, swap and unload what changed there."""
        return self._call(self._transport.reload())

    def models(self) -> ModelTable:
        """Every version of every model, loading and failed ones too; in a notebook a table."""
        return ModelTable(self._call(self._transport.models()))

    def model(self, name: str) -> ModelStatus:
        """One version: the latest of ``name``, or ``name@version``."""
        return self._call(self._transport.model(name))

    def _load(self, name: str, load: Callable[[], Awaitable[ModelStatus]], progress: bool) -> ModelStatus:
        self._check_open()
        return run_with_bar(self._io, lambda report: self._loading(name, load, report), shown=progress)

    async def _loading(self, name: str, load: Callable[[], Awaitable[ModelStatus]], report: Report) -> ModelStatus:
        async def look() -> Step | None:
            return _step(name, await self._transport.models())

        return await polled(self._retries.run(load), look, report)


def _step(name: str, models: list[ModelStatus]) -> Step | None:
    """How far the load of that name is, the one that began last where there are several."""
    loading = [(model.age_s, model.progress) for model in models if model.name == name and model.progress is not None]
    if not loading:
        return None
    _, progress = min(loading, key=lambda each: each[0])
    return Step(f"{name}: {progress.stage}", progress.done_bytes, progress.total_bytes)


def _version(path: Path | None, options: VersionOptions) -> dict[str, Any]:
    """The fields of a `LoadVersion`."""
    found = None if path is None else os.path.expanduser(os.fspath(path))
    if found is not None and os.path.exists(found):
        # The server has a working directory of its own.
        found = os.path.abspath(found)
    return {"path": found, **cast(dict[str, Any], options)}
