"""The prediction runtime: rows of many requests, computed by one forward per batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from msgspec import structs

from jupyter_streaminfer.inference.adaptive import Adaptive
from jupyter_streaminfer.inference.batch_cost import BatchCost
from jupyter_streaminfer.inference.batch_sizes import BatchSizes
from jupyter_streaminfer.inference.batcher import Batcher, Part
from jupyter_streaminfer.inference.faults import device_lost
from jupyter_streaminfer.inference.inputs import InputReader
from jupyter_streaminfer.inference.outputs import OutputWriter
from jupyter_streaminfer.inference.padding import Padding
from jupyter_streaminfer.inference.predict_model import PredictModel
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.inference.samples import sample_rows
from jupyter_streaminfer.protocol import (
    BatchStats,
    Embedded,
    EmbedJob,
    ErrorInfo,
    Job,
    JobEvent,
    JobFailed,
    ModelSettings,
    ModelStats,
    Predicted,
    PredictJob,
    Rejected,
    Signature,
    StreaminferError,
)

EXPIRED = ErrorInfo(
    "expired", "its deadline passed before it was computed; give it more time or ask for less at once", True
)


@dataclass(frozen=True, slots=True)
class Special:
    """What is known of a job besides its rows, where there is something."""

    order: list[int] | None
    """Where each of its rows is in the request, if they are sorted by their buckets."""
    tokens: int | None
    """Of a request for embeddings, all texts together."""


class Predictor:
    """A `Runtime` over a `PredictModel`."""

    def __init__(
        self,
        model: PredictModel,
        *,
        max_batch_size: int,
        max_wait_ms: float,
        max_queue: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `StreaminferError` for a signature that contradicts itself."""
        signature = model.info.signature or Signature([])
        self._reader = InputReader(signature)
        self._padding = Padding(signature, model.device)
        self._writer = OutputWriter(signature)
        self._largest = min(max_batch_size, model.largest_batch or max_batch_size)
        self.model = model
        self.info = structs.replace(model.info, max_batch_size=self._largest)
        self._sizes = BatchSizes()
        self.batcher: Batcher[Rows, bytes] = Batcher(self._largest, max_wait_ms, max_queue, clock)
        self.before_compute: Callable[[], object] = lambda: None
        self._settings = ModelSettings(max_batch_size=self._largest, max_wait_ms=max_wait_ms)
        self._clock = clock
        self._cost = BatchCost()
        self._seen = 1
        """The largest batch that was measured."""
        self._adaptive: Adaptive | None = None
        self._specials: dict[str, Special] = {}

    def warm_up(self) -> None:
        """Compute a batch of one row and a full one, each twice: the first is slow, the second tells what it costs."""
        for size in sorted({1, self._largest}):
            rows = self.model.sample(size)
            if rows is None and (rows := sample_rows(self.info.signature or Signature([]), size)) is not None:
                rows = self.model.prepare(rows)
            if rows is not None:
                self._forward(rows)
                started = self._clock()
                self._forward(rows)
                self._learn(size, self._clock() - started)

    def configure(self, settings: ModelSettings) -> None:
        """See `Runtime.configure`: sizes beyond what the model was loaded with are that."""
        given = {name: value for name, value in structs.asdict(settings).items() if value is not None}
        settings = self._settings = structs.replace(self._settings, **given)
        size = min(settings.max_batch_size or self._largest, self._largest)
        self.batcher.configure(
            max_batch_size=size, max_wait_ms=settings.max_wait_ms, preferred=settings.preferred_batch_sizes
        )
        self._adaptive = None
        if settings.latency_target_ms:
            longest = self.batcher.max_wait
            self._adaptive = Adaptive(self._cost, settings.latency_target_ms / 1000, size, longest)
        self._adapt()

    def submit(self, job: Job) -> JobEvent | None:
        """Check the rows and queue them; `Rejected` where one does not fit the signature."""
        try:
            if isinstance(job, PredictJob):
                self._predict(job, self._reader.read(job.inputs))
            elif isinstance(job, EmbedJob):
                rows, tokens = self.model.embed(job.request)
                self._queue(job.job, rows, job.client, tokens=tokens)
            else:
                raise StreaminferError("invalid_request", "this model predicts; it generates no text", field="model")
        except Exception as error:
            return _rejected(job.job, error)
        return None

    def submit_all(self, jobs: Seq[PredictJob]) -> list[JobEvent]:
        """See `Gathering.submit_all`."""
        events: list[JobEvent] = []
        for job, rows in zip(jobs, self._reader.read_each([job.inputs for job in jobs]), strict=True):
            try:
                if isinstance(rows, Exception):
                    raise rows
                self._predict(job, rows)
            except Exception as error:
                events.append(_rejected(job.job, error))
        return events

    def _predict(self, job: PredictJob, rows: Rows) -> None:
        deadline = None if job.deadline_ms is None else job.deadline_ms / 1000
        self._queue(job.job, self.model.prepare(rows), job.client, job.priority, deadline)

    def _queue(
        self,
        job: str,
        rows: Rows,
        client: str,
        priority: int = 0,
        deadline: float | None = None,
        tokens: int | None = None,
    ) -> None:
        buckets, order = rows.buckets, None
        if buckets is not None and len(buckets) > 1:
            order = sorted(range(len(buckets)), key=buckets.__getitem__)
            rows, buckets = rows.pick(order), [buckets[index] for index in order]
        self.batcher.submit(job, rows, client, priority=priority, expires_in=deadline, buckets=buckets)
        if order is not None or tokens is not None:
            self._specials[job] = Special(order, tokens)

    def cancel(self, job: str) -> None:
        self.batcher.cancel(job)
        self._specials.pop(job, None)

    def pause(self, job: str) -> None:
        """See `Runtime.pause`: a prediction is not paused."""

    def resume(self, job: str) -> None:
        """See `Runtime.resume`."""

    def due_in(self) -> float | None:
        return self.batcher.due_in()

    def stats(self) -> ModelStats:
        """See `Runtime.stats`."""
        batcher, adaptive = self.batcher, self._adaptive
        flushes = batcher.flushes
        return ModelStats(
            running=0,
            waiting=batcher.waiting,
            preemptions=0,
            cache_used=0.0,
            prefix_tokens=0,
            prefix_hits=0,
            batcher=BatchStats(
                batches=sum(flushes.values()),
                rows=batcher.taken,
                full=flushes["full"],
                preferred=flushes["preferred"],
                timed=flushes["timed"],
                max_batch_size=batcher.max_batch_size,
                max_wait_ms=batcher.max_wait * 1000,
                expired=batcher.expired,
                latency_target_ms=adaptive.target * 1000 if adaptive else 0.0,
                attainable=adaptive is None or adaptive.attainable,
            ),
            batch_sizes=self._sizes.counts(),
        )

    def step(self) -> list[JobEvent]:
        """Compute the batch that is due, if any; where that fails, its halves: a bad row fails only its job."""
        events: list[JobEvent] = []
        for job in self.batcher.expire():
            self._specials.pop(job, None)
            events.append(JobFailed(job, EXPIRED))
        parts = self.batcher.take()
        if not parts:
            return events
        rows = Rows.concat([part.rows for part in parts])
        self._sizes.add(len(rows))
        self.before_compute()
        started = self._clock()
        answers = self._compute(rows)
        self._learn(len(rows), self._clock() - started)
        faulty = ErrorInfo in map(type, answers)
        start = 0
        for part in parts:
            end = start + len(part.rows)
            own: list[Any] = answers[start:end]
            start = end
            if faulty and (failed := self._failed(part, own)):
                events.append(failed)
            elif whole := self.batcher.complete(part.job, own):
                events.append(self._answer(part.job, whole))
        self._adapt()
        return events

    def _learn(self, rows: int, seconds: float) -> None:
        self._cost.learn(rows, seconds)
        self._seen = max(self._seen, rows)
        self.batcher.row_seconds = self._cost.of(self.batcher.max_batch_size) / self.batcher.max_batch_size

    def _adapt(self) -> None:
        if self._adaptive is not None:
            size, wait = self._adaptive.choose(self._seen, self.batcher.rows)
            self.batcher.configure(max_batch_size=size, max_wait_ms=wait * 1000)

    def _failed(self, part: Part[Rows], answers: list[bytes | ErrorInfo]) -> JobFailed | None:
        """The end of a job of which a row has no answer; it is named."""
        for index, answer in enumerate(answers, part.start):
            if isinstance(answer, ErrorInfo):
                special = self._specials.get(part.job)
                row = special.order[index] if special is not None and special.order is not None else index
                self.cancel(part.job)
                message = f"row {row} of inputs cannot be computed: {answer.message}"
                return JobFailed(part.job, structs.replace(answer, message=message))
        return None

    def _answer(self, job: str, rows: Seq[bytes]) -> JobEvent:
        if self._specials and (special := self._specials.pop(job, None)) is not None:
            if special.order is not None:
                sorted_rows, rows = rows, list(rows)
                for row, index in zip(sorted_rows, special.order, strict=True):
                    rows[index] = row
            if special.tokens is not None:
                try:
                    vectors = [msgspec.json.decode(row, type=list[float]) for row in rows]
                except msgspec.ValidationError as error:
                    return JobFailed(job, ErrorInfo("internal", f"the model gave what is no vector: {error}"))
                return Embedded(job, vectors, special.tokens)
        return Predicted(job, b"[%b]" % b",".join(rows))

    def _compute(self, rows: Rows) -> list[bytes | ErrorInfo]:
        """The answer of each row, or why it has none; where a batch fails, of its halves."""
        try:
            return self._forward(rows)
        except Exception as error:
            if device_lost(error):
                raise
            if len(rows) == 1:
                return [_fault(error)]
        half = len(rows) // 2
        return self._compute(rows[:half]) + self._compute(rows[half:])

    def _forward(self, rows: Rows) -> list[bytes | ErrorInfo]:
        with torch.inference_mode():
            return self._writer.write(self.model.forward(self._padding.batch(rows)), len(rows))


def _rejected(job: str, error: Exception) -> Rejected:
    """The refusal of a job whose rows cannot be queued; raises what means that the device is lost."""
    if isinstance(error, StreaminferError):
        return Rejected(job, error.info)
    if device_lost(error):
        raise error
    message = f"inputs cannot be prepared: {type(error).__name__}: {error}"
    return Rejected(job, ErrorInfo("internal", message, field="inputs"))


def _fault(error: Exception) -> ErrorInfo:
    """Why a row alone could not be computed."""
    if isinstance(error, StreaminferError):
        return error.info
    return ErrorInfo("internal", f"{type(error).__name__}: {error}", field="inputs")
