"""The Engine: requests in, streams and results out. No Jupyter, no Tornado, no HTTP; it runs in a plain script."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Literal

import msgspec

from jupyter_streaminfer.engine.admission import Admission, Backlog
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.cost import cost
from jupyter_streaminfer.engine.counts import Counts
from jupyter_streaminfer.engine.generation import CancelReason, Generation
from jupyter_streaminfer.engine.lag import LoopLag
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.pressure import Pressure
from jupyter_streaminfer.engine.question import Answer, Asked, OnAnswer, Question
from jupyter_streaminfer.engine.registry import ModelRegistry
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.streams import StreamTable
from jupyter_streaminfer.protocol import (
    Cancelled,
    Continue,
    DType,
    Embed,
    Embeddings,
    ErrorInfo,
    Failed,
    Generate,
    Health,
    Incomplete,
    LoadModel,
    Metrics,
    ModelStatus,
    Placement,
    Predict,
    Result,
    Score,
    Scores,
    StreaminferError,
    StreamStatus,
    invalid_request,
)


class Engine:
    """Loads models, admits requests to them, and writes what they bring into streams.

    Lives on one event loop; every method is to be called there. Every refusal is a `StreaminferError`. ``client``
    says whose a request is: clients are served in turn, and each has its own limits.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self._registry = ModelRegistry(self.config, self._on_failed)
        self._streams = StreamTable(self.config, lambda stream: self._cancel(stream.id, "abandoned"))
        self._pressure = Pressure(self._worker_pids)
        self._admission = Admission(self.config)
        self._lag = LoopLag()
        self._counts = Counts()
        self._generations: dict[str, Generation] = {}
        """By the id of their stream."""
        self._questions = 0
        """Ever asked."""
        self._idle = asyncio.Event()
        """Set while nothing is under way."""
        self._idle.set()
        self._refusing_until: float | None = None
        """While the engine is stopping: when it will have stopped, on the monotonic clock."""

    # Models.

    async def load(
        self, name: str, path: str | None = None, dtype: DType = "auto", placement: Placement = "auto"
    ) -> ModelStatus:
        """Load a model and warm it up, or wait for whoever already does; at once where it is ready.

        ``path`` is a folder in the Hugging Face layout; without it the model that is loaded under that name is
        meant, else the bundled one. ``dtype`` is what its weights are kept in, ``placement`` where it computes.
        """
        self._refuse_when_stopping()
        self._pressure.start()
        self._lag.start()
        return (await self._registry.load(LoadModel(name=name, path=path, dtype=dtype, placement=placement))).status()

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

    async def generate(self, request: Generate, client: str = "") -> Stream:
        """Start a generation; returns its stream once the model has admitted the prompt."""
        self._refuse_when_stopping()
        _check(request)
        model = self._registry.ready(request.model)
        seed = secrets.randbits(63) if request.seed is None else request.seed
        return await self._generate(model, request, client, seed, [])

    async def continue_(self, request: Continue, client: str = "") -> Stream:
        """Start a generation that goes on where another one's stream ended before it was complete."""
        self._refuse_when_stopping()
        before = self._streams.get(request.stream)
        if not isinstance(before.terminal, Failed | Incomplete | Cancelled) or (
            isinstance(before.terminal, Failed) and not before.terminal.resumable
        ):
            raise StreaminferError(
                "invalid_request",
                f"Stream {before.id} is {before.status().state} and cannot be continued: only one that was cancelled, "
                "or that ended as incomplete or as failed and resumable.",
                field="stream",
            )
        model = self._registry.ready(before.request.model)
        if model.spec.version != before.version:
            raise StreaminferError(
                "invalid_request",
                f"Model {model.spec.name!r} is at version {model.spec.version} now and would go on differently: "
                f"stream {before.id} is of version {before.version}. Start a new one with generate.",
                field="stream",
            )
        return await self._generate(model, before.request, client, before.seed, before.delivered)

    async def _generate(self, model: Model, request: Generate, client: str, seed: int, begun: list[int]) -> Stream:
        self._streams.make_room(sum(not each.admitted.done() for each in self._generations.values()))
        ticket = self._admission.admit(client, max(0, cost(request) - len(begun)), self._backlog(model))
        stream = Stream(
            "st_" + secrets.token_urlsafe(12),
            request,
            model.spec.version,
            time.monotonic(),
            seed=seed,
            begun=begun,
            window_tokens=self.config.window_tokens,
            max_bytes=self.config.max_stream_bytes,
        )
        generation = Generation(model, stream, client, ticket, self.config, self._counts)
        generation.on_admitted = self._streams.add
        generation.on_end = self._ended
        self._generations[stream.id] = generation
        self._begin(model)
        model.dispatch.submit(generation)
        try:
            return await generation.admitted
        except asyncio.CancelledError:
            generation.cancel("client")
            raise

    async def predict(self, request: Predict, client: str = "") -> Result:
        """Answer one request for predictions, computed together with everyone else's."""
        answer = await self._answer(request, client)
        assert isinstance(answer, Result)  # noqa: S101 (what answers such a request)
        return answer

    async def embed(self, request: Embed, client: str = "") -> Embeddings:
        """The embeddings of some texts, computed together with everyone else's requests."""
        _check(request)
        answer = await self._answer(request, client)
        assert isinstance(answer, Embeddings)  # noqa: S101
        return answer

    async def score(self, request: Score, client: str = "") -> Scores:
        """How likely each continuation of a prompt is."""
        _check(request)
        answer = await self._answer(request, client)
        assert isinstance(answer, Scores)  # noqa: S101
        return answer

    async def _answer(self, request: Asked, client: str) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(outcome: Answer | StreaminferError) -> None:
            if answer.done():
                return
            if isinstance(outcome, StreaminferError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        question = self.ask(request, client, settle)
        try:
            return await answer
        finally:
            question.cancel()

    def ask(self, request: Asked, client: str, on_answer: OnAnswer) -> Question:
        """Hand a request that was decoded, and so checked, to a model's worker; ``on_answer`` is called on the loop.

        No task, no future: what thousands of small predictions a second are asked with.
        """
        self._refuse_when_stopping()
        model = self._registry.ready(request.model)
        ticket = self._admission.admit(client, cost(request), self._backlog(model))
        self._questions += 1
        question = Question(f"q{self._questions}", request, client, model, ticket, on_answer, self._answered)
        self._begin(model)
        model.dispatch.submit(question)
        return question

    def _answered(self, question: Question) -> None:
        question.ticket.close()
        self._finish(question.model)

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
        self._cancel(id, "client")

    # The whole.

    def health(self, connections: int = 0) -> Health:
        """How the engine is; ``connections`` is what its caller serves."""
        from jupyter_streaminfer import __version__

        states = [model.state for model in self._registry]
        lost = any(model.error is not None and model.error.code == "worker_lost" for model in self._registry)
        stopping = self._refusing_until is not None
        status: Literal["ok", "degraded", "stopping"] = "stopping" if stopping else "degraded" if lost else "ok"
        return Health(status, __version__, states.count("ready"), self._streams.open, connections)

    def metrics(self, connections: int = 0) -> Metrics:
        """What the engine carries and what it had to do about it; ``connections`` is what its caller serves."""
        admission, load, counts = self._admission, self._pressure.last, self._counts
        return Metrics(
            connections=connections,
            streams_open=self._streams.open,
            streams_kept=len(self._streams),
            streams_paused=sum(stream.paused for stream in self._streams),
            log_bytes=self._streams.log_bytes,
            clients=admission.clients,
            pending=admission.pending,
            queued_tokens=admission.queued_tokens,
            tokens_per_second=round(admission.tokens_per_second, 1),
            memory_bytes=load.memory_bytes,
            loop_lag_ms=round(self._lag.worst_ms, 2),
            admitted=admission.admitted,
            refused=dict(admission.refused),
            deadlines=dict(counts.deadlines),
            slow_consumers=counts.slow_consumers,
            pauses=counts.pauses,
            retries=counts.retries,
            restarts=sum(model.restarts for model in self._registry),
            gpu_utilisation=load.gpu_utilisation,
            gpu_memory_used=load.gpu_memory_used,
        )

    async def drain(self, timeout_s: float) -> bool:
        """Refuse new work from now on and give what is under way its time; whether all of it came to its end."""
        self._refusing_until = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End every stream, stop every worker."""
        self._refusing_until = self._refusing_until or time.monotonic()
        for model in self._registry:
            self._end_all(model, "shutdown")
        await asyncio.gather(*(self._registry.unload(model) for model in self._registry))
        self._streams.clear()
        self._pressure.stop()
        self._lag.stop()

    def _refuse_when_stopping(self) -> None:
        if self._refusing_until is not None:
            raise StreaminferError(
                "overloaded",
                "The engine is stopping. Ask again when the server is back.",
                retryable=True,
                retry_after_ms=1000 * max(1.0, self._refusing_until - time.monotonic()),
            )

    def _worker_pids(self) -> list[int]:
        return [model.worker.pid for model in self._registry if model.worker.pid is not None]

    def _backlog(self, model: Model) -> Backlog:
        stats = model.worker.stats()
        cache_used, waiting = (0.0, 0) if stats is None else (stats.cache_used, stats.waiting)
        return Backlog(cache_used, waiting, self._pressure.last)

    def _begin(self, model: Model) -> None:
        model.active += 1
        self._idle.clear()

    def _finish(self, model: Model) -> None:
        model.active -= 1
        if not any(each.active for each in self._registry):
            self._idle.set()

    def _ended(self, generation: Generation) -> None:
        del self._generations[generation.stream.id]
        self._streams.closed(generation.stream)
        self._finish(generation.model)

    def _cancel(self, id: str, reason: CancelReason) -> None:
        if (generation := self._generations.get(id)) is not None:
            generation.cancel(reason)

    def _end_all(self, model: Model, reason: CancelReason) -> None:
        for task in model.dispatch.tasks:
            if isinstance(task, Generation):
                task.cancel(reason)
            elif isinstance(task, Question):
                task.refuse(ErrorInfo("cancelled", f"Model {model.spec.name!r} was unloaded."))

    def _on_failed(self, model: Model) -> None:
        assert model.error is not None  # noqa: S101 (set by the model just before)
        for task in model.dispatch.tasks:
            if isinstance(task, Generation):
                task.lose(model.error)
            elif isinstance(task, Question):
                task.refuse(model.error)


def _check(request: Generate | Embed | Score) -> None:
    """Refuse what no decoder has checked: a script builds the structs itself, past their constraints.

    Every float of them has bounds, and NaN is within none.
    """
    try:
        msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
