"""The Engine: requests in, streams and results out. No Jupyter, no Tornado, no HTTP; it runs in a plain script."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from dataclasses import dataclass
from typing import Literal

import msgspec

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.registry import Model, ModelRegistry
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.streams import StreamTable
from jupyter_streaminfer.protocol import (
    Admitted,
    ErrorInfo,
    Finished,
    Generate,
    GenerateJob,
    Health,
    JobEvent,
    JobFailed,
    ModelStatus,
    Predict,
    Predicted,
    Prediction,
    PredictJob,
    Rejected,
    Result,
    Started,
    StreaminferError,
    StreamStatus,
    Tokens,
    invalid_request,
)

CancelReason = Literal["client", "abandoned", "unload", "shutdown"]


@dataclass(eq=False)
class Generation:
    """A generate job that a worker has: until it is admitted someone waits for it, then its stream is written."""

    model: Model
    stream: Stream
    admitted: asyncio.Future[Stream]


@dataclass(eq=False)
class PendingPrediction:
    """A predict job that a worker has."""

    model: Model
    answer: asyncio.Future[list[Prediction]]


class Engine:
    """Loads models, admits requests to them, and writes what they bring into streams.

    Lives on one event loop; every method is to be called there. Every refusal is a `StreaminferError`.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self._registry = ModelRegistry(self.config, self._on_events, self._on_death)
        self._streams = StreamTable(self.config, lambda stream: self._end(stream.id, "abandoned"))
        self._generations: dict[str, Generation] = {}
        self._predictions: dict[str, PendingPrediction] = {}
        self._stopping = False

    # Models.

    async def load(self, name: str, path: str | None = None) -> ModelStatus:
        """Load a model and warm it up, or wait for whoever already does; at once where it is ready.

        ``path`` is a folder in the Hugging Face layout; without it the model that is loaded under that name is
        meant, else the bundled one.
        """
        self._refuse_when_stopping()
        return (await self._registry.load(name, path)).status()

    async def unload(self, name: str) -> None:
        """End the model's streams and free it."""
        model = self._registry.get(name)
        model.state = "unloading" if model.state == "ready" else model.state
        self._end_all(model, "unload")
        await self._registry.unload(model)

    def models(self) -> list[ModelStatus]:
        """Every model, loading and failed ones too."""
        return [model.status() for model in self._registry]

    def model(self, name: str) -> ModelStatus:
        """One model."""
        return self._registry.get(name).status()

    # Requests.

    async def generate(self, request: Generate) -> Stream:
        """Start a generation; returns its stream once the model has admitted the prompt."""
        self._refuse_when_stopping()
        _check(request)
        model = self._registry.ready(request.model)
        self._streams.make_room(sum(not each.admitted.done() for each in self._generations.values()))
        stream = Stream("st_" + secrets.token_urlsafe(12), request, model.spec.version, time.monotonic())
        generation = Generation(model, stream, asyncio.get_running_loop().create_future())
        self._generations[stream.id] = generation
        model.active += 1
        seed = secrets.randbits(63) if request.seed is None else request.seed
        model.worker.submit(GenerateJob(stream.id, request, seed))
        try:
            return await generation.admitted
        except asyncio.CancelledError:
            self._end(stream.id, "client")
            raise

    async def predict(self, request: Predict) -> Result:
        """Answer one request for predictions, computed together with everyone else's."""
        self._refuse_when_stopping()
        model = self._registry.ready(request.model)
        job = secrets.token_urlsafe(12)
        pending = PendingPrediction(model, asyncio.get_running_loop().create_future())
        self._predictions[job] = pending
        model.active += 1
        model.worker.submit(PredictJob(job, request.inputs))
        try:
            outputs = await pending.answer
        except asyncio.CancelledError:
            model.worker.cancel(job)
            raise
        finally:
            self._predictions.pop(job, None)
            model.active -= 1
        return Result(request.id, request.model, model.spec.version, outputs)

    # Streams.

    def stream(self, id: str) -> Stream:
        """The stream of that id, open or closed."""
        return self._streams.get(id)

    def streams(self) -> list[StreamStatus]:
        """Every stream that is kept, the oldest first."""
        return [stream.status() for stream in self._streams]

    def cancel(self, id: str) -> None:
        """End a stream; a closed one stays as it is."""
        self._streams.get(id)
        self._end(id, "client")

    # The whole.

    def health(self, connections: int = 0) -> Health:
        """How the engine is; ``connections`` is what its caller serves."""
        from jupyter_streaminfer import __version__

        states = [model.state for model in self._registry]
        lost = any(model.error is not None and model.error.code == "worker_lost" for model in self._registry)
        status: Literal["ok", "degraded", "stopping"] = "stopping" if self._stopping else "degraded" if lost else "ok"
        return Health(status, __version__, states.count("ready"), self._streams.open, connections)

    async def close(self) -> None:
        """End every stream, stop every worker."""
        self._stopping = True
        for model in self._registry:
            self._end_all(model, "shutdown")
        await asyncio.gather(*(self._registry.unload(model) for model in self._registry))
        self._streams.clear()

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise StreaminferError("overloaded", "The engine is stopping.", retryable=True)

    def _end_all(self, model: Model, reason: CancelReason) -> None:
        for id, generation in list(self._generations.items()):
            if generation.model is model:
                self._end(id, reason)
        for id, pending in list(self._predictions.items()):
            if pending.model is model:
                model.worker.cancel(id)
                _reject(pending.answer, ErrorInfo("cancelled", f"Model {model.spec.name!r} was unloaded."))

    def _end(self, id: str, reason: CancelReason) -> None:
        if (generation := self._release(id)) is not None:
            generation.model.worker.cancel(id)
            generation.stream.cancel(reason)
            self._streams.closed(generation.stream)
            _reject(generation.admitted, ErrorInfo("cancelled", f"The request was ended before it began ({reason})."))

    def _release(self, id: str) -> Generation | None:
        """Take a generation off the list of those that a worker has."""
        if (generation := self._generations.pop(id, None)) is not None:
            generation.model.active -= 1
        return generation

    # What workers bring: called once a step, with everything of that step.

    def _on_events(self, model: Model, events: list[JobEvent]) -> None:
        for event in events:
            if (generation := self._generations.get(event.job)) is not None:
                self._on_generation(generation, event)
            elif (pending := self._predictions.get(event.job)) is not None:
                self._on_prediction(pending, event)

    def _on_generation(self, generation: Generation, event: JobEvent) -> None:
        stream = generation.stream
        match event:
            case Tokens():
                stream.append(event.token_ids, event.text)
            case Admitted():
                generation.model.requests += 1
                stream.prompt_tokens = event.prompt_tokens
                self._streams.add(stream)
                if not generation.admitted.done():
                    generation.admitted.set_result(stream)
            case Started():
                stream.start(event.ago_ms)
            case Finished():
                if event.text:
                    stream.append([], event.text)
                stream.complete(event.finish_reason)
                self._ended(stream)
            case JobFailed():
                stream.fail(event.error)
                self._ended(stream)
            case Rejected():
                self._release(stream.id)
                _reject(generation.admitted, event.error)
            case Predicted():
                raise AssertionError("a generate job cannot bring predictions")

    def _on_prediction(self, pending: PendingPrediction, event: JobEvent) -> None:
        match event:
            case Predicted():
                pending.model.requests += 1
                if not pending.answer.done():
                    pending.answer.set_result(event.outputs)
            case Rejected() | JobFailed():
                _reject(pending.answer, event.error)
            case _:
                pass

    def _ended(self, stream: Stream) -> None:
        self._release(stream.id)
        self._streams.closed(stream)

    def _on_death(self, model: Model) -> None:
        assert model.error is not None  # noqa: S101 (set by the registry just before)
        for id, generation in list(self._generations.items()):
            if generation.model is model:
                self._release(id)
                generation.stream.fail(model.error)
                self._streams.closed(generation.stream)
                _reject(generation.admitted, model.error)
        for pending in self._predictions.values():
            if pending.model is model:
                _reject(pending.answer, model.error)


def _reject(future: asyncio.Future[Stream] | asyncio.Future[list[Prediction]], error: ErrorInfo) -> None:
    if not future.done():
        future.set_exception(StreaminferError.of(error))


def _check(request: Generate) -> None:
    """Refuse what no decoder has checked: a script builds the structs itself, past their constraints."""
    for name in ("temperature", "top_p"):
        if not math.isfinite(getattr(request, name)):
            raise StreaminferError("invalid_request", f"{name} must be a finite number.", field=name)
    try:
        msgspec.convert(msgspec.to_builtins(request), Generate)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
