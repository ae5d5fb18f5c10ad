"""The Engine: requests in, streams and results out. No Jupyter, no Tornado, no HTTP; it runs in a plain script."""

from __future__ import annotations

import asyncio
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
    DType,
    Embed,
    Embedded,
    Embeddings,
    EmbedJob,
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
    PredictJob,
    Rejected,
    Result,
    Score,
    ScoredTexts,
    ScoreJob,
    Scores,
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
class Question:
    """A job that a worker has and that one event answers, in order or not."""

    model: Model
    answer: asyncio.Future[JobEvent]


class Engine:
    """Loads models, admits requests to them, and writes what they bring into streams.

    Lives on one event loop; every method is to be called there. Every refusal is a `StreaminferError`.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self._registry = ModelRegistry(self.config, self._on_events, self._on_death)
        self._streams = StreamTable(self.config, lambda stream: self._end(stream.id, "abandoned"))
        self._generations: dict[str, Generation] = {}
        self._questions: dict[str, Question] = {}
        self._stopping = False

    # Models.

    async def load(self, name: str, path: str | None = None, dtype: DType = "auto") -> ModelStatus:
        """Load a model and warm it up, or wait for whoever already does; at once where it is ready.

        ``path`` is a folder in the Hugging Face layout; without it the model that is loaded under that name is
        meant, else the bundled one. ``dtype`` is what its weights are kept in.
        """
        self._refuse_when_stopping()
        return (await self._registry.load(name, path, dtype)).status()

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
        version, event = await self._ask(request.model, PredictJob(_job_id(), request.inputs))
        assert isinstance(event, Predicted)  # noqa: S101 (what answers this job in order)
        return Result(request.id, request.model, version, event.outputs)

    async def embed(self, request: Embed) -> Embeddings:
        """The embeddings of some texts, computed together with everyone else's requests."""
        self._refuse_when_stopping()
        _check(request)
        version, event = await self._ask(request.model, EmbedJob(_job_id(), request))
        assert isinstance(event, Embedded)  # noqa: S101
        return Embeddings(request.id, request.model, version, event.vectors, event.prompt_tokens)

    async def score(self, request: Score) -> Scores:
        """How likely each continuation of a prompt is."""
        self._refuse_when_stopping()
        _check(request)
        version, event = await self._ask(request.model, ScoreJob(_job_id(), request))
        assert isinstance(event, ScoredTexts)  # noqa: S101
        return Scores(request.id, request.model, version, event.scores, event.prompt_tokens)

    async def _ask(self, name: str, job: PredictJob | EmbedJob | ScoreJob) -> tuple[str, JobEvent]:
        """Hand a job to a model's worker: the model's version and the event that answers the job."""
        model = self._registry.ready(name)
        question = Question(model, asyncio.get_running_loop().create_future())
        self._questions[job.job] = question
        model.active += 1
        model.worker.submit(job)
        try:
            return model.spec.version, await question.answer
        except asyncio.CancelledError:
            model.worker.cancel(job.job)
            raise
        finally:
            self._questions.pop(job.job, None)
            model.active -= 1

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
        for id, question in list(self._questions.items()):
            if question.model is model:
                model.worker.cancel(id)
                _reject(question.answer, ErrorInfo("cancelled", f"Model {model.spec.name!r} was unloaded."))

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
            elif (question := self._questions.get(event.job)) is not None:
                _answer(question, event)

    def _on_generation(self, generation: Generation, event: JobEvent) -> None:
        stream = generation.stream
        match event:
            case Tokens():
                stream.append(event.token_ids, event.text, event.logprobs)
            case Admitted():
                generation.model.requests += 1
                stream.prompt_tokens = event.prompt_tokens
                self._streams.add(stream)
                if not generation.admitted.done():
                    generation.admitted.set_result(stream)
            case Started():
                stream.start(event.ago_ms, event.cached_tokens)
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
            case Predicted() | Embedded() | ScoredTexts():
                raise AssertionError("a generate job cannot bring the answer to a question")

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
        for question in self._questions.values():
            if question.model is model:
                _reject(question.answer, model.error)


def _job_id() -> str:
    return secrets.token_urlsafe(12)


def _answer(question: Question, event: JobEvent) -> None:
    if isinstance(event, Rejected | JobFailed):
        _reject(question.answer, event.error)
    elif not question.answer.done():
        question.model.requests += 1
        question.answer.set_result(event)


def _reject(future: asyncio.Future[Stream] | asyncio.Future[JobEvent], error: ErrorInfo) -> None:
    if not future.done():
        future.set_exception(StreaminferError.of(error))


def _check(request: Generate | Embed | Score) -> None:
    """Refuse what no decoder has checked: a script builds the structs itself, past their constraints.

    Every float of them has bounds, and NaN is within none.
    """
    try:
        msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
