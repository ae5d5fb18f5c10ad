"""What else becomes of a request than an answer: it is routed and counted, answered by the cache, or copied."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec import Raw

from jupyter_streaminfer.engine.admission import Admission
from jupyter_streaminfer.engine.cache import Key, PredictionCache
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.question import Answer, Asked, OnAnswer, Question
from jupyter_streaminfer.engine.registry import ModelRegistry
from jupyter_streaminfer.engine.routes import Routes
from jupyter_streaminfer.engine.shadow import Copy
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.protocol import (
    Arm,
    Cancelled,
    Failed,
    Predict,
    Result,
    Route,
    RouteStatus,
    StreaminferError,
)


class Traffic:
    """One engine's routes and its prediction cache. Where a request has to do with neither, it costs two look-ups."""

    def __init__(
        self,
        config: EngineConfig,
        registry: ModelRegistry,
        admission: Admission,
        begin: Callable[[Model], None],
        finish: Callable[[Model], None],
    ) -> None:
        """``begin`` and ``finish`` are told of copies of requests: that a model has one more to answer, or one less."""
        self.cache = PredictionCache(config.prediction_cache_bytes, config.prediction_cache_s)
        self.routes = Routes(config.state_dir, self._is_ready, self._wake)
        self._registry = registry
        self._admission = admission
        self._begin = begin
        self._finish = finish
        self._copies = 0
        registry.router = self.routes.get
        registry.on_freed = self.cache.forget

    # Routes.

    def route(self, name: str, route: Route | None) -> RouteStatus:
        """Set a model's route, or have none; raises `StreaminferError` for one that cannot be."""
        entry = self._registry.entry(name)
        if route is None:
            self.routes.remove(name)
        else:
            self.routes.set(name, route, entry.versions)
        entry.router = self.routes.get(name)
        self._registry.tidy(entry)
        return self.routed(name)

    def routed(self, name: str) -> RouteStatus:
        """A model's route and its figures; without one all requests are the latest version's."""
        latest = self._registry.entry(name).newest().spec.version
        if (router := self.routes.get(name)) is not None:
            return router.status()
        return RouteStatus(Route([Arm(latest, 1.0)]), [])

    def arm(self, ref: str, model: Model) -> str:
        """What the version that answers a request is in its route; empty where no route chose it."""
        router = self.routes.get(ref)
        return router.role(model.spec.version) if router is not None else ""

    def forget(self, ref: str) -> None:
        """Drop the route of a model that was unloaded, if there is no version of it any more."""
        name = ref.partition("@")[0]
        try:
            self._registry.entry(name)
        except StreaminferError:
            self.routes.remove(name)

    def _is_ready(self, name: str, version: str) -> bool:
        with suppress(StreaminferError):
            model = self._registry.entry(name).versions.get(version)
            return model is not None and model.state == "ready"
        return False

    def _wake(self, name: str, version: str) -> None:
        with suppress(StreaminferError):
            self._registry.resolve(f"{name}@{version}")  # one that was unloaded as idle is loaded again

    # Questions.

    def cached(self, request: Predict, model: Model) -> tuple[Key, Result | None]:
        """Where the answer to a request that asks for it is kept, and the answer, if it is there."""
        key = self.cache.key(model, bytes(request.inputs))
        if (outputs := self.cache.get(key)) is None:
            return key, None
        return key, Result(request.id, model.spec.name, model.spec.version, Raw(outputs), cached=True)

    def keeping(self, key: Key, model: Model, on_answer: OnAnswer) -> OnAnswer:
        """The same, and the answer is kept unless it is an error."""

        def told(answer: Answer | StreaminferError) -> None:
            if isinstance(answer, Result):
                self.cache.put(model, key, bytes(answer.outputs))
            on_answer(answer)

        return told

    def watch(self, request: Asked, model: Model, on_answer: OnAnswer) -> tuple[OnAnswer, Copy | None]:
        """The same, with the model's figures kept where it has a route; and what is to be sent to its shadow."""
        if (router := self.routes.get(request.model)) is None:
            return on_answer, None
        version, since = model.spec.version, router.now()

        def counted(answer: Answer | StreaminferError) -> None:
            if isinstance(answer, StreaminferError):
                router.failed(version, answer.code)
            else:
                router.answered(version, since)
            on_answer(answer)

        if router.shadow is None or not isinstance(request, Predict) or not router.shadow.wants(request):
            return counted, None
        signature = model.info.signature if model.info else None
        copy = Copy(router.shadow, signature.kind if signature else "values", request)
        return copy.watch(counted), copy

    def send(self, copy: Copy, name: str, client: str) -> None:
        """Send a copy, once the original is on its way; it takes nothing of the client's bounds."""
        model = self._registry.entry(name).versions.get(copy.version)
        ready = model is not None and model.state == "ready"
        if not copy.begin(ready=ready) or model is None:
            return
        self._copies += 1
        ticket = self._admission.unbilled()
        question = Question(f"c{self._copies}", copy.request, client, model, ticket, copy.answered, self._copied)
        self._begin(model)
        model.dispatch.submit(question)

    def _copied(self, question: Question) -> None:
        self._finish(question.model)

    # Streams.

    def ended(self, stream: Stream) -> None:
        """Count a stream that came to its end, or was refused."""
        router, terminal = self.routes.get(stream.request.model), stream.terminal
        if router is None or stream.accepted < router.since:
            return  # it was another route, or none, that chose its version
        if isinstance(terminal, Failed):
            router.failed(stream.version, terminal.error.code)
        elif terminal is not None and not isinstance(terminal, Cancelled):
            router.streamed(stream.version, stream.log.first_at_ms)
