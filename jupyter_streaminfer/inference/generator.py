"""The generation runtime: schedule, compute, sample, detokenise, once a step for all sequences."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from jupyter_streaminfer.inference.answer import Answers
from jupyter_streaminfer.inference.batch_sizes import BatchSizes
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS, Blocks
from jupyter_streaminfer.inference.fairness import under_way
from jupyter_streaminfer.inference.faults import device_lost
from jupyter_streaminfer.inference.intake import Intake, invalid
from jupyter_streaminfer.inference.launcher import Launched, Launcher
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.pace import Pace
from jupyter_streaminfer.inference.reading import Readings
from jupyter_streaminfer.inference.sampler import Sampler
from jupyter_streaminfer.inference.scheduler import Chunk, Scheduler
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import (
    Admitted,
    ErrorInfo,
    Generate,
    GenerateJob,
    Job,
    JobEvent,
    JobFailed,
    ModelInfo,
    ModelSettings,
    ModelStats,
    PredictJob,
    Rejected,
    RunJob,
    Started,
    StreaminferError,
)

log = logging.getLogger(__name__)


class Generator:
    """A `Runtime` over a causal language model."""

    def __init__(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        *,
        cache_bytes: int,
        max_batch_size: int,
        step_tokens: int,
        max_queue: int,
    ) -> None:
        """Allocate the KV cache; `StreaminferError` when ``cache_bytes`` holds no block of it."""
        blocks = cache_bytes // (BLOCK_TOKENS * model.token_bytes)
        if blocks < 1:
            raise StreaminferError(
                "invalid_request",
                f"cache_bytes = {cache_bytes} holds no block of the KV cache: {BLOCK_TOKENS} tokens take"
                f" {BLOCK_TOKENS * model.token_bytes} bytes; raise cache_bytes to many times that",
                field="cache_bytes",
            )
        # More than every place's whole context is never used, but for prefixes kept.
        blocks = min(blocks, 2 * max_batch_size * -(-model.context_length // BLOCK_TOKENS))
        model.allocate(blocks)
        self.model = model
        self.tokenizer = tokenizer
        self.blocks = Blocks(blocks)
        self.scheduler = Scheduler(
            self.blocks, max_batch_size=max_batch_size, step_tokens=step_tokens, max_queue=max_queue
        )
        self.pace = Pace()
        self._sizes = BatchSizes()
        self.intake = Intake(tokenizer, model.vocabulary, min(model.context_length, blocks * BLOCK_TOKENS))
        self._sampler = Sampler(model.vocabulary, model.device)
        self._answers = Answers(tokenizer)
        self._readings = Readings(self.intake, self.scheduler, model)
        self._launcher = Launcher(model, self.scheduler, self._sampler)
        self._ahead: Launched | None = None
        """The step that is under way while the one before is told, if any."""
        self._ended_at = 0.0
        self.before_compute: Callable[[], object] = lambda: None
        self.info = ModelInfo(
            task="generate",
            architecture=model.architecture,
            parameters=model.parameters,
            weight_bytes=model.weight_bytes,
            device=model.device.type,
            dtype=model.dtype,
            runner=model.runner,
            context_length=self.intake.context_length,
            max_batch_size=max_batch_size,
            cache_bytes=blocks * BLOCK_TOKENS * model.token_bytes,
            chat=tokenizer.template is not None,
        )

    def warm_up(self) -> None:
        """Generate a few tokens alone and in a full batch, greedily and drawn; `StreaminferError` where that fails."""
        length = min(8, self.intake.context_length - 1)
        for size in (1, self.info.max_batch_size):
            for index in range(size if length else 0):
                request = Generate(
                    f"warm-up-{index}",
                    "",
                    token_ids=[0] * length,
                    max_tokens=min(3, self.intake.context_length - length),
                    temperature=float(index % 2),
                    ignore_eos=True,
                )
                self.submit(GenerateJob(request.id, request, index))
            while self.due_in() is not None:
                for event in self.step():
                    if isinstance(event, JobFailed):
                        raise StreaminferError.of(event.error)
        self.pace = Pace()
        self._sizes = BatchSizes()
        self.blocks.tokens_asked = self.blocks.tokens_found = self.scheduler.preemptions = 0

    def submit(self, job: Job) -> JobEvent | None:
        """Tokenise, check and queue a job: `Admitted`, or `Rejected` with the field and the limit; or nothing yet."""
        try:
            if job.job in self._answers or job.job in self._readings:
                raise under_way(job.job)
            match job:
                case GenerateJob():
                    return self._submit_generation(job)
                case PredictJob() | RunJob():
                    raise invalid("model", "this model generates text; it answers no predict and no run")
                case _:
                    self._readings.submit(job)
                    return None
        except StreaminferError as error:
            return Rejected(job.job, error.info)

    def _submit_generation(self, job: GenerateJob) -> Admitted:
        sequence = self.intake.sequence(job)
        if self._answers.begin(job, sequence):
            try:
                self.scheduler.submit(sequence)
            except StreaminferError:
                self._answers.remove(job.job)
                raise
            self._sampler.add(sequence)
        return Admitted(job.job, sequence.prompt_tokens)

    def cancel(self, job: str) -> None:
        if job in self._answers or job in self._readings:
            self._forget(job)

    def pause(self, job: str) -> None:
        """See `Runtime.pause`; its penalties' counts and the text that is held back are kept."""
        if job in self._answers:
            self.scheduler.pause(job)

    def resume(self, job: str) -> None:
        self.scheduler.resume(job)

    def configure(self, settings: ModelSettings) -> None:
        """See `Runtime.configure`: its scheduler takes none of them."""

    def due_in(self) -> float | None:
        return 0.0 if len(self.scheduler) or self._answers.any_whole or self._ahead else None

    def stats(self) -> ModelStats:
        """See `Runtime.stats`."""
        return ModelStats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            preemptions=self.scheduler.preemptions,
            cache_used=round(self.blocks.used / self.blocks.count, 4),
            prefix_tokens=self.blocks.tokens_asked,
            prefix_hits=self.blocks.tokens_found,
            batch_sizes=self._sizes.counts(),
        )

    def step(self) -> list[JobEvent]:
        """Compute one step's chunks and give every sequence that caught up its next token.

        Where the device can read what it drew itself, the next step is launched before this one's tokens are known,
        so that all that the host does with them costs no time of the device.
        """
        events = self._answers.end_whole()
        step, self._ahead = self._ahead or self._launch_next(events), None
        if step is not None:
            if self._launcher.may_go_ahead(step):
                self._ahead = self._launch_ahead(events)
            self._end(step, events)
            now = time.monotonic()
            self.pace.note(step.decoding, step.prefill_tokens, now - max(step.began, self._ended_at))
            self._ended_at = now
        if not len(self.scheduler) and not self.scheduler.paused and self._ahead is None:
            self._check_idle()
        return events

    def check_idle(self) -> None:
        """Raise `RuntimeError` when a sequence, block or answer is left though no job is."""
        self.scheduler.check_idle()
        jobs = [*self._answers.jobs, *self._readings.jobs]
        if jobs or len(self._sampler) or self._ahead:
            raise RuntimeError(f"not idle: answers left of {sorted(jobs)}")

    def _check_idle(self) -> None:
        try:
            self.check_idle()
        except RuntimeError:
            log.exception("The generator leaks; it goes on")

    def _launch_ahead(self, events: list[JobEvent]) -> Launched | None:
        """Launch the next step while one is under way; None where there is none, or where that fails.

        Then it is scheduled again once the step that is under way has ended, and what must fail fails.
        """
        chunks, decoding = self._schedule()
        if not chunks:
            return None
        try:
            return self._launch(chunks, decoding, events)
        except Exception as error:
            if device_lost(error):
                raise
            log.warning("A step that was to be launched ahead failed; it is tried again: %s", error)
            return None

    def _launch_next(self, events: list[JobEvent]) -> Launched | None:
        """Launch the next step; None where there is none, or where its chunks had to be computed one by one."""
        chunks, decoding = self._schedule()
        return self._launch_some(chunks, decoding, events) if chunks else None

    def _schedule(self) -> tuple[list[Chunk], int]:
        scheduler = self.scheduler
        decoding = sum(sequence.pending == 1 for sequence in scheduler.running)
        if decoding == len(scheduler.running) and not scheduler.waiting:
            return scheduler.schedule(), decoding  # nobody has a prompt to compute
        return scheduler.schedule(self.pace.prefill_tokens(decoding)), decoding

    def _launch_some(self, chunks: list[Chunk], decoding: int, events: list[JobEvent]) -> Launched | None:
        """Launch chunks together; if that raises, each alone, so that only what cannot be computed fails."""
        try:
            return self._launch(chunks, decoding, events)
        except Exception as error:
            if device_lost(error):
                raise
            if len(chunks) > 1:
                for chunk in chunks:
                    if chunk.sequence.blocks:  # none where another text of its job has failed just now
                        step = self._launch_some([chunk], int(chunk.count == 1), events)
                        if step is not None:
                            self._end(step, events)
                return None
            log.exception("A step failed")
            self._fail(
                self._readings.job_of(chunks[0].sequence), f"The step failed: {type(error).__name__}: {error}", events
            )
            return None

    def _launch(self, chunks: list[Chunk], decoding: int, events: list[JobEvent]) -> Launched:
        """Have chunks computed; what is only read is waited for and read."""
        step = self._launcher.launch(chunks, decoding, self._answers.__contains__, self.before_compute)
        self._sizes.add(len(chunks))
        for chunk, states in step.readings:
            if problem := self._readings.take(chunk.sequence, states):
                self._fail(self._readings.job_of(chunk.sequence), problem, events)
            chunk.sequence.started = True
            self.scheduler.settle(chunk)
            self._readings.finish(chunk.sequence, events)
        return step

    def _end(self, step: Launched, events: list[JobEvent]) -> None:
        """Wait for a step's tokens, and tell them; what was cancelled meanwhile gets none."""
        draws = step.draws.read() if step.draws is not None else []
        for chunk in step.generations:
            self.scheduler.settle(chunk)
            sequence = chunk.sequence
            if not sequence.started and not sequence.left:
                sequence.started = True
                ago_ms = (time.monotonic() - step.began) * 1000
                events.append(Started(sequence.job, ago_ms, sequence.cached_tokens))
        for sequence, draw in zip(step.completing, draws, strict=True):
            sequence.unread -= 1
            if sequence.left:
                continue
            try:
                if not self._answers.add(sequence, draw, events):
                    self._forget(sequence.job, broken=draw.token is None)
            except Exception as error:
                log.exception("A token could not be told")
                self._fail(sequence.job, f"A token could not be told: {type(error).__name__}: {error}", events)

    def _fail(self, job: str, message: str, events: list[JobEvent]) -> None:
        events.append(JobFailed(job, ErrorInfo("internal", message)))
        self._forget(job, broken=True)

    def _forget(self, job: str, *, broken: bool = False) -> None:
        """Free what a job holds; ``broken``: nobody may share its keys and values, which may be NaN."""
        self._answers.remove(job)
        self._sampler.remove(job)
        for name in self._readings.remove(job) or [job]:
            self.scheduler.remove(name, discard=broken)
