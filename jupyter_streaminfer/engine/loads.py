"""How versions come to be loaded, how one takes over from another, and how they go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from msgspec import structs

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.counts import LoadCounts
from jupyter_streaminfer.engine.entry import LATEST, Claim, Entry, Router
from jupyter_streaminfer.engine.eviction import Eviction
from jupyter_streaminfer.engine.model import GIVE_UP_S, Model
from jupyter_streaminfer.engine.source import refuse_another, refuse_unloading, spec_of
from jupyter_streaminfer.protocol import LoadModel, StreaminferError
from jupyter_streaminfer.workers import ModelSpec


class Loads:
    """What is loaded. The loads of one name are made one after the other; whoever asks for the same one shares it."""

    def __init__(
        self,
        config: EngineConfig,
        on_failed: Callable[[Model], None],
        end: Callable[[Model], None],
        resident_bytes: Callable[[Model], int] = lambda model: 0,
    ) -> None:
        """``on_failed`` is told of a model that was ready and can compute no more, ``end`` ends what one is doing.

        ``resident_bytes`` says what a model's process has of the memory, where it has one.
        """
        self._config = config
        self._on_failed = on_failed
        self._end = end
        self._resident_bytes = resident_bytes
        self.on_freed: Callable[[Model], None] = lambda model: None
        """Told of a version that was unloaded."""
        self.router: Callable[[str], Router | None] = lambda name: None
        """The router of a name, where it has one."""
        self.counts = LoadCounts()
        self._entries: dict[str, Entry] = {}
        self._last_load: dict[str, asyncio.Task[None]] = {}
        """The load of each name after which the next one is made."""
        self._eviction = Eviction(config, lambda: self._entries.values(), resident_bytes, self._put_to_sleep)

    def __iter__(self) -> Iterator[Model]:
        return iter([model for entry in self._entries.values() for model in entry])

    def entry(self, name: str) -> Entry:
        """What goes by that name; raises `StreaminferError` ``model_not_found``."""
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries)) or "none"
            raise StreaminferError(
                "model_not_found",
                f"No model {name[:64]!r} is loaded (loaded: {known}). Load it first, with client.load(name) or "
                "POST api/models.",
                field="model",
            ) from None

    # What is asked for.

    async def load(self, request: LoadModel) -> Model:
        """The model of that name, and of that version where one is named, loaded and warmed up; at once if it is.

        Raises `StreaminferError` with the reason when it cannot be loaded. A caller that gives up leaves the load to
        the others and to later ones.
        """
        entry, model = self._entries.get(request.name), None
        if entry is not None:
            model = entry.newest() if request.version in (None, LATEST) else entry.versions.get(request.version)
        if entry is None or model is None:
            return await self.swap(request)
        model = await _freed(entry, model)
        if model.state == "failed":
            return await self._load_again(entry, model, request)
        refuse_another(model, request)
        entry.pinned = entry.pinned or request.pinned
        wanted = request.activate and request.version is not None and model.spec.version != entry.latest
        if model.state in ("unloaded", "retiring") or wanted:
            return await self._activate(entry, model, entry.claim() if request.activate else None)
        await _loading(model)
        return model

    async def _load_again(self, entry: Entry, failed: Model, request: LoadModel) -> Model:
        """Try a failed version again under its own name, but for one that is now to be something else."""
        again = spec_of(structs.replace(request, version=failed.spec.version), self._config, entry)
        if replace(again, placement=failed.spec.placement) != failed.spec:
            return await self.swap(request)
        entry.pinned = entry.pinned or request.pinned
        model = self._begin(entry, again, entry.claim() if request.activate else None, failed)
        await _loading(model)
        return model

    async def swap(self, request: LoadModel) -> Model:
        """A new version, loaded beside the others, which takes over when it is ready where ``activate`` says so."""
        entry = self._entries.get(request.name)
        spec = spec_of(request, self._config, entry)
        if entry is None:
            if len(self._entries) >= self._config.max_models:
                raise StreaminferError(
                    "overloaded",
                    f"{self._config.max_models} models are loaded, the most this engine keeps. Unload one first.",
                )
            entry = self._entries[request.name] = Entry(request.name)
            entry.router = self.router(request.name)
        entry.pinned = entry.pinned or request.pinned
        model = self._begin(entry, spec, entry.claim() if request.activate else None)
        await _loading(model)
        return model

    async def activate(self, name: str, version: str) -> Model:
        """Make a version the latest one, once it is loaded."""
        entry = self.entry(name)
        return await self._activate(entry, entry.find(version), entry.claim())

    async def rollback(self, name: str) -> Model:
        """Go back to the version that was the latest before."""
        entry = self.entry(name)
        if not entry.before:
            raise StreaminferError(
                "invalid_request", f"Model {name!r} has no version to go back to: none was replaced.", field="model"
            )
        return await self._activate(entry, entry.find(entry.before[-1]), entry.claim(back=True))

    async def _activate(self, entry: Entry, model: Model, claim: Claim | None) -> Model:
        model = await _freed(entry, model)
        refuse_unloading(model)
        if claim is None:
            entry.stand_by(model.spec.version)
        if model.state in ("unloaded", "failed"):
            model = self._begin(entry, model.spec, claim, model)
            await _loading(model)
            return model
        await _loading(model)
        if claim is not None:
            self._take_over(entry, model, claim)
        return model

    # Loading.

    def _begin(self, entry: Entry, spec: ModelSpec, claim: Claim | None, before: Model | None = None) -> Model:
        """Load a version after the loads of its name that were asked for before; ``before`` was unloaded."""
        if sum(each.loaded and each.state != "unloading" for each in entry) >= self._config.max_versions:
            raise StreaminferError(
                "overloaded",
                f"{self._config.max_versions} versions of model {entry.name!r} are loaded, loading, or still at work, "
                "the most this engine keeps (the server's c.StreaminferApp.max_versions). Unload one first, or wait.",
                retryable=any(each.state in ("loading", "retiring") for each in entry),
            )
        model = Model(
            spec,
            self._on_failed,
            self._unused,
            load_timeout_s=self._config.load_timeout_s,
            expected_ms=before.loaded_ms if before else 0.0,
        )
        model.on_restarted = self._restarted
        model.settings = entry.settings
        if before is not None:
            model.requests, model.asleep = before.requests, before.asleep
        entry.versions.pop(spec.version, None)
        entry.versions[spec.version] = model
        after = self._last_load.get(entry.name)
        task = asyncio.create_task(self._load(entry, model, claim, after, known=before is not None))
        model.loading = self._last_load[entry.name] = task
        task.add_done_callback(lambda task: self._loaded(entry, model, task))
        return model

    async def _load(
        self, entry: Entry, model: Model, claim: Claim | None, after: asyncio.Task[None] | None, *, known: bool
    ) -> None:
        if after is not None:
            await asyncio.wait([after])
        if frees := [each.freeing for each in entry if each.freeing is not None]:
            # Else swaps that come faster than what they replace can go would pile it up.
            await asyncio.wait(frees, timeout=GIVE_UP_S)
        self._eviction.start()
        try:
            await self._eviction.make_room(entry, model)
        except StreaminferError as refusal:
            model.state, model.error = "unloaded", refusal.info
            self.counts.ended["failed"] += 1
            if not known:
                self._forget(entry, model)
            raise
        try:
            await model.load()
        except StreaminferError as error:
            # One that was unloaded before it was loaded neither succeeded nor failed.
            self.counts.ended["failed"] += error.code != "cancelled"
            raise
        finally:
            model.reserved_bytes = 0
        self.counts.ended["ready"] += 1
        self.counts.took_ms.add(model.loaded_ms)
        model.asleep = False
        entry.became_ready(model.spec.version)
        if claim is not None:
            self._take_over(entry, model, claim)
        else:
            self.tidy(entry)
        await self._eviction.settle(entry, model)

    def _loaded(self, entry: Entry, model: Model, load: asyncio.Task[None]) -> None:
        model.loading = None
        if self._last_load.get(entry.name) is load:
            del self._last_load[entry.name]
        if not load.cancelled():
            # Read here, so that a failure whose callers have all gone is not reported as a lost exception.
            load.exception()
        entry.forget_oldest()

    def _restarted(self) -> None:
        self.counts.restarts += 1

    # One takes over from another.

    def _take_over(self, entry: Entry, model: Model, claim: Claim) -> None:
        """Have the requests that name no version go to this one from now on, unless another was asked for later."""
        version, before = model.spec.version, entry.latest
        if not entry.activate(version, claim):
            if not entry.needs(version):
                self._retire(model)
            raise StreaminferError(
                "cancelled",
                f"Version {version} of model {entry.name!r} could answer, but version {entry.latest} was asked for "
                "later, so it was not put in its place. Activate it if it should be.",
            )
        self.counts.swaps += before not in (None, version)
        model.serve()
        self.tidy(entry)

    def tidy(self, entry: Entry) -> None:
        """Free the versions that were replaced and that nothing needs any more, once their requests have ended."""
        for model in entry.surplus(self._config.keep_versions):
            self._retire(model)

    def _retire(self, model: Model) -> None:
        model.asleep = False
        if model.state in ("ready", "restarting", "retiring"):
            model.retire()
            self._unused(model)

    def _unused(self, model: Model) -> None:
        if model.retired and not model.active and model.state in ("retiring", "restarting"):
            self._free(model)

    def _free(self, model: Model) -> asyncio.Task[None]:
        """Unload a version, which stays known."""
        model.state = "unloading"
        model.freeing = asyncio.create_task(self._stop(model))
        return model.freeing

    async def _stop(self, model: Model) -> None:
        try:
            await model.stop()
        finally:
            model.freeing = None
        self.on_freed(model)
        if (entry := self._entries.get(model.spec.name)) is not None:
            entry.forget_oldest()

    async def _put_to_sleep(self, model: Model) -> None:
        model.asleep = True
        await asyncio.shield(self._free(model))

    # Unloading.

    async def _remove(self, entry: Entry, model: Model) -> None:
        pending, was_loaded = [each for each in (model.loading, model.freeing) if each is not None], model.loaded
        if was_loaded:
            model.state = "unloading"
            self._end(model)
            await model.stop()
        if pending:
            await asyncio.wait(pending)
        if was_loaded:
            self.on_freed(model)
        self._forget(entry, model)

    def _forget(self, entry: Entry, model: Model) -> None:
        if entry.versions.get(model.spec.version) is model:
            entry.forget(model.spec.version)
        if not entry.versions and self._entries.get(entry.name) is entry:
            del self._entries[entry.name]

    async def close(self) -> None:
        """Unload everything."""
        await self._eviction.stop()
        await asyncio.gather(*(self._remove(entry, model) for entry in list(self._entries.values()) for model in entry))


async def _loading(model: Model) -> None:
    """Wait for its load, and raise what that raised."""
    if model.loading is not None:
        await asyncio.shield(model.loading)


async def _freed(entry: Entry, model: Model) -> Model:
    """What is there in its place once it is freed, if it is being so."""
    if model.freeing is not None:
        await asyncio.wait([model.freeing])
        return entry.find(model.spec.version)
    return model
