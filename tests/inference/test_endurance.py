"""Ten thousand random requests: each ends once, and nothing of them is left."""

from __future__ import annotations

import gc
import random
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs

from jupyter_streaminfer.inference.answer import Answer
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.reading import Reading
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import Admitted, Embed, EmbedJob, GenerateJob, Job, Rejected, Score, ScoreJob

from .conftest import FORWARDS, Outcome, build_folder, collect, drain, generate_job, load_generator
from .decoding import load

REQUESTS = 10_000
MARKED = 319
"""The token that lets a step raise."""
BAD: list[dict[str, Any]] = [
    {"token_ids": []},
    {"token_ids": [5, 320]},
    {"token_ids": [5] * 200},
    {"max_tokens": 500},
    {"min_tokens": 50},
    {"logit_bias": {1000: 1.0}},
    {"stop_token_ids": [320]},
    {"prompt": "two prompts"},
]


class Crowd:
    """Random requests, one after the other."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.heads = [self._tokens(48) for _ in range(3)]

    def job(self, name: str) -> Job:
        kind = self.draw.random()
        if kind < 0.05:
            texts = [self._prompt() for _ in range(self.draw.randint(1, 4))]
            return EmbedJob(name, Embed(name, "m", texts, self.draw.choice(["mean", "last"])))
        if kind < 0.1:
            continuations = [self._tokens(self.draw.randint(1, 20)) for _ in range(self.draw.randint(1, 4))]
            return ScoreJob(name, Score(name, "m", self._prompt(), continuations))
        return self._generation(name)

    def _generation(self, name: str) -> GenerateJob:
        draw = self.draw
        fields: dict[str, Any] = {"token_ids": self._prompt(), "max_tokens": draw.randint(1, 12)}
        options: list[dict[str, Any]] = [
            {"temperature": 0.0},
            {"top_k": 5, "temperature": 1.5},
            {"top_p": 0.7, "min_p": 0.02},
            {"repetition_penalty": 1.2},
            {"presence_penalty": 1.0, "frequency_penalty": -0.5},
            {"logit_bias": {2: 6.0, 7: -9.0}},
            {"stop": ["a", "on", "é"]},
            {"stop_token_ids": [40, 41, 42], "min_tokens": 1},
            {"logprobs": 2},
            {"chunk_tokens": 5},
            {"priority": draw.randint(-100, 100)},
            {"ignore_eos": True},
        ]
        for option in draw.sample(options, draw.randint(0, 3)):
            fields |= option
        if draw.random() < 0.05:
            fields |= draw.choice(BAD)
        job = generate_job(name, fields.pop("token_ids"), seed=draw.getrandbits(63), **fields)
        told = self._tokens(draw.choice([0, 0, 0, 1, 4]))
        return structs.replace(job, delivered=told, client=f"{draw.randrange(10)}")

    def _prompt(self) -> list[int]:
        head = self.draw.choice(self.heads)[: self.draw.choice([0, 0, 16, 48])]
        return head + self._tokens(self.draw.choice([1, 2, 5, 10, 30]))

    def _tokens(self, count: int) -> list[int]:
        return [MARKED if self.draw.random() < 1e-3 else self.draw.randrange(3, MARKED) for _ in range(count)]


def live(runtime: Generator) -> tuple[int, int, int]:
    """What the runtime's past requests may have left: objects of ours, of any kind, and bytes of tensors."""
    gc.collect()
    objects = gc.get_objects()
    ours = sum(type(one) in {Sequence, Answer, Emitter, Reading} for one in objects)
    return ours, len(objects), sum(one.nbytes for one in objects if type(one) is torch.Tensor)


def resume_all(runtime: Generator) -> None:
    for name in list(runtime.scheduler.paused):
        runtime.resume(name)


def endure(runtime: Generator, crowd: Crowd, names: range) -> Counter[str]:
    """Submit them all, several a step, pause, resume and cancel some: how many ended how."""
    outcomes: dict[str, Outcome] = {}
    recent: deque[str] = deque(maxlen=30)
    ends: Counter[str] = Counter()
    for name in map(str, names):
        event = runtime.submit(crowd.job(name))
        if isinstance(event, Rejected):
            ends[event.error.code] += 1
        else:
            assert isinstance(event, Admitted | None)
            outcomes[name] = Outcome()
            recent.append(name)
        if crowd.draw.random() < 0.1 and recent:
            chosen = crowd.draw.choice(recent)
            runtime.cancel(chosen)
            if not outcomes[chosen].ends:
                outcomes[chosen].ends = 1  # so that any further event is one too many
                ends["cancelled"] += 1
        if crowd.draw.random() < 0.1 and recent:
            runtime.pause(crowd.draw.choice(recent))
        if crowd.draw.random() < 0.1:
            resume_all(runtime)
        if crowd.draw.random() < 0.4:
            collect(runtime.step(), outcomes)
    resume_all(runtime)
    drain(runtime, outcomes)
    assert [name for name, outcome in outcomes.items() if outcome.ends != 1] == []
    for outcome in outcomes.values():
        ends["failed"] += outcome.error is not None
        ends["answered"] += outcome.answer is not None
        ends[outcome.reason or "other"] += 1
    return ends


def test_ten_thousand_requests_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_folder(tmp_path, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    runtime = load_generator(folder, blocks=24, max_batch_size=16, step_tokens=64, max_queue=40)
    hidden = runtime.model.hidden

    def marked(batch: Batch) -> torch.Tensor:
        if MARKED in batch.token_ids:
            raise RuntimeError("a marked token")
        return hidden(batch)

    monkeypatch.setattr(runtime.model, "hidden", marked)
    monkeypatch.setattr("jupyter_streaminfer.inference.generator.log.exception", lambda message: None)
    crowd = Crowd(0)
    ends = endure(runtime, crowd, range(REQUESTS // 5))
    runtime.check_idle()
    ours, objects, tensor_bytes = live(runtime)
    assert ours == 0

    ends += endure(runtime, crowd, range(REQUESTS // 5, REQUESTS))
    runtime.check_idle()
    assert (runtime.due_in(), runtime.stats().cache_used) == (None, 0.0)
    every = ("stop", "length", "answered", "failed", "cancelled", "invalid_request", "overloaded")
    assert min(ends[name] for name in every) > 50
    assert runtime.stats().preemptions > 0
    assert runtime.stats().prefix_hits > 0
    ours, more_objects, more_bytes = live(runtime)
    assert ours == 0
    assert more_objects < objects + 500
    assert more_bytes < tensor_bytes + 2**18


def test_steps_that_are_launched_ahead_leave_nothing_behind_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are cancelled, paused and resumed while the device still computes them."""
    fields = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = build_folder(tmp_path, head_dim=FORWARDS["torch"], **fields)
    model = load(folder, graphs=True, ahead=True)
    runtime = Generator(
        model,
        Tokenizer(folder, model.vocabulary),
        cache_bytes=24 * BLOCK_TOKENS * model.token_bytes,
        max_batch_size=16,
        step_tokens=64,
        max_queue=40,
    )
    monkeypatch.setattr("jupyter_streaminfer.inference.generator.log.exception", lambda message: None)
    ends = endure(runtime, Crowd(1), range(REQUESTS // 5))
    runtime.check_idle()
    assert (runtime.due_in(), runtime.stats().cache_used) == (None, 0.0)
    assert min(ends[name] for name in ("stop", "length", "answered", "cancelled", "invalid_request", "overloaded")) > 10
    assert runtime.stats().preemptions > 0
    assert live(runtime)[0] == 0
