"""The Engine: requests in, streams and results out. No Jupyter, no Tornado, no HTTP; it runs in a plain script."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from jupyter_streaminfer.engine.admission import Backlog
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.cost import cost
from jupyter_streaminfer.engine.generation import Generation
from jupyter_streaminfer.engine.metrics import Door, legible
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.observed import Observed
from jupyter_streaminfer.engine.question import Answer, Asked, OnAnswer, Pending, Question
from jupyter_streaminfer.engine.run import RunTask
from jupyter_streaminfer.engine.store import Store
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.stream_task import CancelReason, StreamTask
from jupyter_streaminfer.engine.uploads import Uploads
from jupyter_streaminfer.protocol import (
    Cancelled,
    Continue,
    Embed,
    Embeddings,
    ErrorInfo,
    Failed,
    Generate,
    Health,
    Incomplete,
    ModelStatus,
    Predict,
    Result,
    Route,
    RouteStatus,
    Run,
    Score,
    Scores,
    StreaminferError,
    StreamStatus,
    invalid_request,
)


class Engine(Observed):
    """Loads models, admits requests to them, and writes what they bring into streams.

    Lives on one event loop; every method is to be called there. Every refusal is a `StreaminferError`. ``client``
    says whose a request is: clients are served in turn, and each has its own limits.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        super().__init__(config or EngineConfig())
        self.store = Store(self.config, self._versions)
        """The models that were uploaded."""
        self.uploads = Uploads(self.store)
        self._machine = Backlog()
        """What a request comes upon that no cache holds up: the machine alone."""
        self._tasks: dict[str, StreamTask] = {}
        """What open streams come from, by the id of the stream."""
        self._questions = 0
        """Ever asked."""
        self._under_way = 0
        """Requests that have begun and not ended."""
        self._idle = asyncio.Event()
        """Set while nothing is under way."""
        self._idle.set()
        self._refusing_until: float | None = None
        """While the engine is stopping: when it will have stopped, on the monotonic clock."""

    def _versions(self, name: str) -> list[ModelStatus]:
        """The versions of that name, the latest first."""
        return sorted((each for each in self.models() if each.name == name), key=lambda each: not each.latest)

    async def unload(self, ref: str) -> None:
        """End what a model, or one version of it, is doing, and free it; a route goes with the last version."""
        await super().unload(ref)
        self._traffic.forget(ref)

    def route(self, name: str, route: Route | None) -> RouteStatus:
        """Set which versions answer who names none, with figures that begin anew; None: the latest does."""
        return self._traffic.route(name, route)

    def routed(self, name: str) -> RouteStatus:
        """A model's route, and what each of its versions did since it was set."""
        return self._traffic.routed(name)

    # Requests.

    async def generate(self, request: Generate, client: str = "") -> Stream:
        """Start a generation; returns its stream once the model has admitted the prompt."""
        with self._meter.door(client) as door:
            self._refuse_when_stopping()
            _check(request)
            model = self._registry.resolve(request.model, client, request.key)
            door.lead(model, self._traffic.arm(request.model, model))
            seed = secrets.randbits(63) if request.seed is None else request.seed
            task = self._open(model, request, door, seed)
        return await _admitted(task)

    async def run(self, request: Run, client: str = "") -> Stream:
        """Start a stream of what a model yields; returns it once the model has admitted the inputs."""
        with self._meter.door(client) as door:
            self._refuse_when_stopping()
            _check(request)
            model = self._registry.resolve(request.model, client, request.key)
            door.lead(model, self._traffic.arm(request.model, model))
            task = self._open(model, request, door)
        return await _admitted(task)

    async def continue_(self, request: Continue, client: str = "") -> Stream:
        """Start a generation that goes on where another one's stream ended before it was complete."""
        with self._meter.door(client) as door:
            self._refuse_when_stopping()
            before = self._continuable(request.stream)
            model = self._registry.loaded(before.model, before.version)
            door.lead(model)
            task = self._open(model, before.request, door, before.seed, before.delivered)
        return await _admitted(task)

    def _continuable(self, id: str) -> Stream:
        """That stream; raises `StreaminferError` where nothing can go on after it."""
        before = self._streams.get(id)
        if isinstance(before.request, Run):
            raise StreaminferError(
                "invalid_request",
                f"Stream {before.id} is of a model that yields it, and cannot be continued: start it again with run.",
                field="stream",
            )
        if not isinstance(before.terminal, Failed | Incomplete | Cancelled) or (
            isinstance(before.terminal, Failed) and not before.terminal.resumable
        ):
            raise StreaminferError(
                "invalid_request",
                f"Stream {before.id} is {before.status().state} and cannot be continued: only one that was cancelled, "
                "or that ended as incomplete or as failed and resumable.",
                field="stream",
            )
        return before

    def _open(
        self, model: Model, request: Generate | Run, door: Door, seed: int = 0, begun: Sequence[int] = ()
    ) -> StreamTask:
        """Let a request in that a stream answers. ``begun``: the tokens of the answer that there are already."""
        client = door.client
        self._streams.make_room(sum(not each.admitted.done() for each in self._tasks.values()))
        ticket = self._admission.admit(client, max(0, cost(request) - len(begun)), self._backlog(model))
        stream = Stream(
            "st_" + secrets.token_urlsafe(12),
            request,
            model.spec.version,
            time.monotonic(),
            seed=seed,
            begun=list(begun),
            window_tokens=self.config.window_tokens,
            max_bytes=self.config.max_stream_bytes,
            client=legible(client),
            arm=door.arm,
        )
        kind = Generation if isinstance(request, Generate) else RunTask
        account = self._meter.stream(model, door.arm, client)
        task = kind(model, stream, client, ticket, self.config, self._counts, account)
        task.on_admitted = self._streams.add
        task.on_end = self._ended
        self._tasks[stream.id] = task
        self._begin(model)
        model.dispatch.submit(task)
        return task

    async def predict(self, request: Predict, client: str = "") -> Result:
        """Answer one request for predictions, computed together with everyone else's."""
        answer = await self._answer(request, client)
        assert isinstance(answer, Result)  # noqa: S101 (what answers such a request)
        return answer

    async def embed(self, request: Embed, client: str = "") -> Embeddings:
        """The embeddings of some texts, computed together with everyone else's requests."""
        with self._meter.door(client):
            _check(request)
        answer = await self._answer(request, client)
        assert isinstance(answer, Embeddings)  # noqa: S101
        return answer

    async def score(self, request: Score, client: str = "") -> Scores:
        """How likely each continuation of a prompt is."""
        with self._meter.door(client):
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

    def ask(self, request: Asked, client: str, on_answer: OnAnswer) -> Pending:
        """Hand a request that was decoded, and so checked, to a model's worker; ``on_answer`` is called on the loop.

        No task, no future: what thousands of small predictions a second are asked with.
        """
        model, arm = None, ""
        try:
            if self._refusing_until is not None:
                self._refuse_when_stopping()
            model = self._registry.resolve(request.model, client, request.key if isinstance(request, Predict) else None)
            arm = self._traffic.arm(request.model, model)
            return self._ask(request, client, on_answer, model, arm)
        except StreaminferError as refusal:
            self._meter.refused(model, arm, client, refusal.code)
            raise

    def _ask(self, request: Asked, client: str, on_answer: OnAnswer, model: Model, arm: str) -> Pending:
        key = None
        if isinstance(request, Predict) and request.cache:
            key, known = self._traffic.cached(request, model)
            if known is not None:
                self._admission.admit(client, 0, Backlog()).close()
                self._meter.known(model, arm, client)
                return asyncio.get_running_loop().call_soon(on_answer, known)
        ticket = self._admission.admit(client, cost(request), self._backlog(model))
        if key is not None:
            on_answer = self._traffic.keeping(key, model, on_answer)
        on_answer, copy = self._traffic.watch(request, model, on_answer)
        self._questions += 1
        counted = self._meter.asked(model, arm, client)
        question = Question(f"q{self._questions}", request, client, model, ticket, on_answer, self._answered, counted)
        self._begin(model)
        model.dispatch.submit(question)
        if copy is not None:
            self._traffic.send(copy, model.spec.name, client)
        return question

    def _answered(self, question: Question) -> None:
        question.ticket.close()
        self._meter.answered(question)
        self._finish(question.model)

    # Streams.

    def stream(self, id: str) -> Stream:
        """The stream of that id, open or closed."""
        return self._streams.get(id)

    def streams(self) -> list[StreamStatus]:
        """Every stream that is kept, the oldest first."""
        return [stream.status() for stream in self._streams]

    def cancel(self, id: str, reason: CancelReason = "client") -> None:
        """End a stream; a closed one stays as it is."""
        self._streams.get(id)
        self._cancel(id, reason)

    # The whole.

    def health(self, connections: int = 0) -> Health:
        """How the engine is; ``connections`` is what its caller serves."""
        from jupyter_streaminfer import __version__

        states = [model.state for model in self._registry]
        lost = any(model.broken for model in self._registry)
        stopping = self._refusing_until is not None
        status: Literal["ok", "degraded", "stopping"] = "stopping" if stopping else "degraded" if lost else "ok"
        return Health(status, __version__, states.count("ready"), self._streams.open, connections)

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
        await self._registry.close()
        await self._traffic.routes.close()
        await self.uploads.close()
        await self.store.close()
        self._streams.clear()
        self._pressure.stop()
        self._lag.stop()
        self._sampler.stop()

    def _refuse_when_stopping(self) -> None:
        if self._refusing_until is not None:
            raise StreaminferError(
                "overloaded",
                "The engine is stopping. Ask again when the server is back.",
                retryable=True,
                retry_after_ms=1000 * max(1.0, self._refusing_until - time.monotonic()),
            )

    def _backlog(self, model: Model) -> Backlog:
        if model.info is not None and model.info.task == "predict":
            # It has no cache, and its batcher bounds its own queue.
            if self._machine.load is not self._pressure.last:
                self._machine = Backlog(load=self._pressure.last)
            return self._machine
        stats = model.worker.stats()
        cache_used, waiting = (0.0, 0) if stats is None else (stats.cache_used, stats.waiting)
        return Backlog(cache_used, waiting, self._pressure.last)

    def _begin(self, model: Model) -> None:
        model.enter()
        self._under_way += 1
        if self._under_way == 1:
            self._idle.clear()

    def _finish(self, model: Model) -> None:
        model.leave()
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    def _ended(self, task: StreamTask) -> None:
        del self._tasks[task.stream.id]
        task.account.ended(task.stream, known=task.known)
        self._streams.closed(task.stream)
        self._traffic.ended(task.stream)
        self._oddities.ended(task.stream)
        self._finish(task.model)
        if task.known:
            self.on_stream_end(task.stream.status())

    def _cancel(self, id: str, reason: CancelReason) -> None:
        if (task := self._tasks.get(id)) is not None:
            task.cancel(reason)

    def _end_all(self, model: Model, reason: CancelReason) -> None:
        for task in model.dispatch.tasks:
            if isinstance(task, StreamTask):
                task.cancel(reason)
            elif isinstance(task, Question):
                task.refuse(ErrorInfo("cancelled", f"Model {model.spec.name!r} was unloaded."))

    def _on_failed(self, model: Model) -> None:
        assert model.error is not None  # noqa: S101 (set by the model just before)
        for task in model.dispatch.tasks:
            if isinstance(task, StreamTask):
                task.lose(model.error)
            elif isinstance(task, Question):
                task.refuse(model.error)


async def _admitted(task: StreamTask) -> Stream:
    """Its stream, once the model admitted the input; it ends when nobody waits for it any more."""
    try:
        return await task.admitted
    except asyncio.CancelledError:
        task.cancel("abandoned")
        raise


def _check(request: Generate | Run | Embed | Score) -> None:
    """Refuse what no decoder has checked: a script builds the structs itself, past their constraints.

    Every float of them has bounds, and NaN is within none.
    """
    try:
        msgspec.convert(msgspec.to_builtins(request, builtin_types=(msgspec.Raw,)), type(request))
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
