"""The generation runtime: schedule, run, sample, detokenise, once a step for all sequences."""

from __future__ import annotations

import time

from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.detokenizer import Detokenizer, detokenizers
from jupyter_streaminfer.inference.kv_cache import KVCache
from jupyter_streaminfer.inference.llama import Llama
from jupyter_streaminfer.inference.sampler import sample
from jupyter_streaminfer.inference.scheduler import Scheduler
from jupyter_streaminfer.inference.sequence import Sampling, Sequence
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import (
    DEFAULT_MAX_TOKENS,
    Admitted,
    ErrorInfo,
    Finished,
    Generate,
    GenerateJob,
    Job,
    JobEvent,
    JobFailed,
    ModelInfo,
    Rejected,
    Started,
    StreaminferError,
    Tokens,
)


class Generator:
    """A `Runtime` over a Llama."""

    def __init__(self, model: Llama, tokenizer: Tokenizer, cache: KVCache, *, step_tokens: int, max_queue: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.cache = cache
        self.scheduler = Scheduler(cache.slots, step_tokens, max_queue)
        self._detokenizer = detokenizers(tokenizer)
        self._texts: dict[str, Detokenizer] = {}
        self.info = ModelInfo(
            task="generate",
            architecture="LlamaForCausalLM",
            parameters=model.config.parameters,
            weight_bytes=model.weight_bytes,
            device=model.device.type,
            dtype="float32",
            context_length=cache.context_length,
            max_batch_size=cache.slots,
            cache_bytes=cache.bytes,
            chat=tokenizer.template is not None,
        )

    def warm_up(self) -> None:
        """Generate a few tokens alone and in a full batch, greedily and drawn."""
        length = min(8, self.cache.context_length - 1)
        for size in (1, self.cache.slots):
            for index in range(size if length else 0):
                request = Generate(
                    f"warm-up-{index}",
                    "",
                    token_ids=[0] * length,
                    max_tokens=min(3, self.cache.context_length - length),
                    temperature=float(index % 2),
                    ignore_eos=True,
                )
                self.submit(GenerateJob(request.id, request, index))
            while self.due_in() is not None:
                self.step()

    def submit(self, job: Job) -> JobEvent | None:
        """Tokenise, check and queue a prompt: `Admitted`, or `Rejected` with the field and the limit."""
        if not isinstance(job, GenerateJob):
            error = ErrorInfo("invalid_request", "this model generates text; it predicts nothing", field="model")
            return Rejected(job.job, error)
        request = job.request
        try:
            token_ids = self._prompt(request)
            sampling = Sampling(request.temperature, request.top_k, request.top_p, job.seed)
            limit = self._max_tokens(request, len(token_ids))
            self.scheduler.submit(Sequence(job.job, token_ids, limit, sampling, request.ignore_eos))
        except StreaminferError as error:
            return Rejected(job.job, error.info)
        self._texts[job.job] = self._detokenizer()
        return Admitted(job.job, len(token_ids))

    def cancel(self, job: str) -> None:
        vacancy = self.scheduler.remove(job)
        if vacancy is not None:
            self.cache.vacate(vacancy)
        self._texts.pop(job, None)

    def due_in(self) -> float | None:
        return 0.0 if len(self.scheduler) else None

    def step(self) -> list[JobEvent]:
        """Compute one step's chunks and give every sequence that caught up its next token."""
        began = time.monotonic()
        chunks = self.scheduler.schedule()
        if not chunks:
            return []
        batch = build_batch(chunks, self.cache.context_length, self.model.device)
        logits = self.model.forward(batch, self.cache)
        sequences = [chunk.sequence for chunk in batch.completing]
        tokens = sample(logits, [s.sampling for s in sequences], [len(s.token_ids) for s in sequences])
        events: list[JobEvent] = []
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
            if not chunk.sequence.started:
                chunk.sequence.started = True
                events.append(Started(chunk.sequence.job, (time.monotonic() - began) * 1000))
        for sequence, token in zip(sequences, tokens, strict=True):
            self._advance(sequence, token, events)
        return events

    def check_idle(self) -> None:
        """Raise `RuntimeError` when a sequence, slot or detokenizer is left though no job is."""
        left = {
            "waiting": len(self.scheduler.waiting),
            "running": len(self.scheduler.running),
            "slots": len(self.scheduler.occupants),
            "detokenizers": len(self._texts),
        }
        if any(left.values()):
            raise RuntimeError(f"not idle: {left}")

    def _advance(self, sequence: Sequence, token: int | None, events: list[JobEvent]) -> None:
        """Append a sequence's next token, or end it."""
        job = sequence.job
        if token is None:
            error = ErrorInfo("internal", "the model's output for this sequence is not finite")
            events.append(JobFailed(job, error))
            self.cancel(job)
            return
        if token in self.tokenizer.eos_ids and not sequence.ignore_eos:
            events.append(Finished(job, "stop", self._texts[job].finish()))
            self.cancel(job)
            return
        sequence.token_ids.append(token)
        events.append(Tokens(job, [token], self._texts[job].add(token)))
        if sequence.generated >= sequence.max_tokens:
            events.append(Finished(job, "length", self._texts[job].finish()))
            self.cancel(job)

    def _prompt(self, request: Generate) -> list[int]:
        """The tokens of the one form in which the prompt was given."""
        given = [name for name in ("prompt", "messages", "token_ids") if getattr(request, name) is not None]
        if len(given) != 1:
            found = "none of them" if not given else " and ".join(given)
            raise _invalid("prompt", f"give exactly one of prompt, messages and token_ids, found {found}")
        field = given[0]
        if request.token_ids is not None:
            token_ids = list(request.token_ids)
            vocabulary = self.model.config.vocabulary
            if token_ids and max(token_ids) >= vocabulary:
                raise _invalid(field, f"token id {max(token_ids)} is not below the vocabulary's size, {vocabulary}")
        elif request.messages is not None:
            self._check_characters(field, sum(len(message.content) for message in request.messages))
            token_ids = self.tokenizer.encode_chat(request.messages) if request.messages else []
        else:
            prompt = request.prompt or ""
            self._check_characters(field, len(prompt))
            token_ids = self.tokenizer.encode(prompt) if prompt else []
        if not token_ids:
            raise _invalid(field, f"{field} is empty; give at least one token")
        context = self.cache.context_length
        if len(token_ids) >= context:
            raise _invalid(
                field,
                f"the prompt has {len(token_ids)} tokens; the model's context is {context} and needs room for one more",
            )
        return token_ids

    def _check_characters(self, field: str, found: int) -> None:
        """Refuse what no tokenisation can make fit, before tokenising it: that takes time in which nobody is served."""
        limit = self.cache.context_length * self.tokenizer.longest_piece
        if found > limit:
            raise _invalid(
                field,
                f"the prompt has {found} characters; the model's context holds at most {limit}, usually far fewer",
            )

    def _max_tokens(self, request: Generate, prompt_tokens: int) -> int:
        room = self.cache.context_length - prompt_tokens
        if request.max_tokens is None:
            return min(DEFAULT_MAX_TOKENS, room)
        if request.max_tokens > room:
            raise _invalid(
                "max_tokens",
                f"{prompt_tokens} prompt tokens and {request.max_tokens} new ones exceed the model's context of"
                f" {self.cache.context_length}; ask for {room} at most",
            )
        return request.max_tokens


def _invalid(field: str, message: str) -> StreaminferError:
    return StreaminferError("invalid_request", message, field=field)
