"""What a worker says, as a stream tells it: chunks of tokens, log-probabilities, cached tokens."""

import asyncio
from pathlib import Path

import pytest

from jupyter_streaminfer.engine import Engine, model
from jupyter_streaminfer.protocol import (
    Admitted,
    Completed,
    Delta,
    Finished,
    Generate,
    GenerateJob,
    Job,
    JobEvent,
    ModelInfo,
    Started,
    TokenLogprobs,
    Tokens,
    TopLogprob,
)
from jupyter_streaminfer.workers import ModelSpec, OnDeath, OnEvents, OnProgress

SCORES = [TokenLogprobs(token, f"t{token}", -0.5 * token, [TopLogprob(token, f"t{token}", -0.1)]) for token in range(5)]


class ScriptedWorker:
    """Answers every job with the same events, a step at a time."""

    placement = "script"
    pid = None

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    async def start(self, on_events: OnEvents, on_death: OnDeath, on_progress: OnProgress) -> ModelInfo:
        self.on_events = on_events
        return ModelInfo("generate", "Script", 0, 0, "cpu", "float32")

    def submit(self, job: Job) -> None:
        assert isinstance(job, GenerateJob)
        id, loop = job.job, asyncio.get_running_loop()
        steps: list[list[JobEvent]] = [
            [Admitted(id, 40)],
            [Started(id, 1.0, cached_tokens=32), Tokens(id, [0, 1], "ab", SCORES[:2])],
            [Tokens(id, [2, 3], "cd", SCORES[2:4])],
            [Tokens(id, [4], "e", SCORES[4:]), Finished(id, "stop", "f")],
        ]
        for step in steps:
            loop.call_soon(self.on_events, step)

    def cancel(self, job: str) -> None:
        pass

    def stats(self) -> None:
        pass

    async def stop(self) -> None:
        pass


async def test_chunks_keep_their_log_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(model, "create", ScriptedWorker)
    engine = Engine()
    await engine.load("script", str(tmp_path))
    stream = await engine.generate(Generate("g", "script", prompt="x", logprobs=1, chunk_tokens=2))
    async with asyncio.timeout(5), stream.cursor() as cursor:
        *deltas, terminal = [event async for event in cursor]
    assert isinstance(terminal, Completed)
    assert (terminal.usage.prompt_tokens, terminal.usage.cached_tokens, terminal.usage.completion_tokens) == (40, 32, 5)
    assert stream.text == "abcdef"
    parts = [delta for delta in deltas if isinstance(delta, Delta)]
    assert [score for delta in parts for score in delta.logprobs or []] == SCORES
    each = [stream.delta(seq, seq) for seq in range(stream.deltas)]
    assert [(delta.token_ids, delta.logprobs) for delta in each] == [
        ([0, 1], SCORES[:2]),
        ([2, 3], SCORES[2:4]),
        ([4], SCORES[4:]),
        ([], []),
    ]
    await engine.close()
