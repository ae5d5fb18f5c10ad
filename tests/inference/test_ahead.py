"""Steps that are launched before the last one's tokens are known: the same answers, whatever happens meanwhile.

What a GPU does by itself is done here on the CPU: a step reads from a tensor what the one before it drew.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import Embed, EmbedJob, Score, ScoreJob

from .by_hand import prompts
from .conftest import Outcome, collect, drain, generate_job
from .decoding import load, serve

PROMPT = [5, 9, 14, 33, 60]


def generator(folder: Path, *, ahead: bool, graphs: bool = True, blocks: int = 64, places: int = 8) -> Generator:
    model = load(folder, graphs, ahead=ahead)
    return Generator(
        model,
        Tokenizer(folder, model.vocabulary),
        cache_bytes=blocks * BLOCK_TOKENS * model.token_bytes,
        max_batch_size=places,
        step_tokens=48,
        max_queue=64,
    )


class Watched:
    """Counts the steps in which a model was told to compute what the host did not know."""

    def __init__(self, runtime: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = self.steps = 0
        hidden = runtime.model.hidden

        def counted(batch: Batch) -> torch.Tensor:
            self.steps += 1
            self.ahead += batch.sources is not None
            return hidden(batch)

        monkeypatch.setattr(runtime.model, "hidden", counted)


@pytest.mark.parametrize("graphs", [False, True], ids=["launched", "over buffers"])
def test_a_full_house_gets_the_same(torch_folder: Path, graphs: bool) -> None:
    """Drawn and greedy, penalised or not, more than there are places and blocks for."""
    runtime, tokens = serve(torch_folder, load(torch_folder, graphs, ahead=True))
    assert runtime.scheduler.preemptions > 0
    assert tokens == serve(torch_folder, load(torch_folder, graphs, ahead=False))[1]
    runtime.check_idle()


OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"top_k": 5, "temperature": 1.5},
    {"top_p": 0.7, "min_p": 0.02},
    {"logit_bias": {2: 6.0, 7: -9.0}},
    {"stop": ["a", "on", "é"]},
    {"stop_token_ids": list(range(40, 80)), "min_tokens": 3},
    {"logprobs": 3},
    {"chunk_tokens": 5},
    {"max_tokens": 1},
    {"priority": 5},
]


@pytest.mark.parametrize("seed", range(12))
def test_every_option_gets_the_same(torch_folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[dict[str, Outcome]] = []
    for ahead in (False, True):
        draw = random.Random(seed)
        runtime = generator(torch_folder, ahead=ahead, blocks=20)
        watched = Watched(runtime, monkeypatch)
        found: dict[str, Outcome] = {}
        for index, prompt in enumerate(prompts(300, 10, 40)):
            fields: dict[str, Any] = {"max_tokens": draw.randint(2, 25), "ignore_eos": draw.random() < 0.5}
            for option in draw.sample(OPTIONS, draw.randint(0, 3)):
                fields |= option
            fields["min_tokens"] = min(fields.get("min_tokens", 0), fields["max_tokens"])
            runtime.submit(generate_job(str(index), prompt, seed=index, **fields))
            for _ in range(draw.randint(0, 2)):
                collect(runtime.step(), found)
        outcomes.append(drain(runtime, found))
        runtime.check_idle()
        assert bool(watched.ahead) is ahead
    for job, outcome in outcomes[0].items():
        other = outcomes[1][job]
        assert (other.token_ids, other.text, other.reason) == (outcome.token_ids, outcome.text, outcome.reason)
        assert [each.token_id for each in other.logprobs] == [each.token_id for each in outcome.logprobs]
        # Who is computed together is not the same, and torch rounds a little differently then.
        assert [each.logprob for each in other.logprobs] == pytest.approx(
            [each.logprob for each in outcome.logprobs], abs=1e-4
        )


def test_nearly_every_step_of_a_stream_is_launched_ahead(torch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = generator(torch_folder, ahead=True)
    watched = Watched(runtime, monkeypatch)
    runtime.submit(generate_job("a", PROMPT, max_tokens=30, ignore_eos=True))
    outcome = drain(runtime)["a"]
    assert len(outcome.token_ids) == 30
    assert outcome.chunks == [1] * 30
    # Not the prompt's; and none after the last token, which is known to be the last before it is drawn.
    assert (watched.steps, watched.ahead) == (30, 29)


def test_a_penalised_stream_is_not(torch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its next token is depends on what the last one was, and that is counted on the host."""
    runtime = generator(torch_folder, ahead=True)
    watched = Watched(runtime, monkeypatch)
    runtime.submit(generate_job("a", PROMPT, max_tokens=10, ignore_eos=True, repetition_penalty=1.3))
    assert len(drain(runtime)["a"].token_ids) == 10
    assert (watched.steps, watched.ahead) == (10, 0)


def test_a_step_that_was_launched_for_a_stopped_stream_is_nobodys(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=20))["a"].token_ids
    stop = next(token for index, token in enumerate(whole) if index > 3 and token not in whole[:index])
    runtime = _submitted(generator(torch_folder, ahead=True), "a", max_tokens=20, stop_token_ids=[stop])
    watched = Watched(runtime, monkeypatch)
    outcome = drain(runtime)["a"]
    assert (outcome.token_ids, outcome.reason) == (whole[: whole.index(stop)], "stop")
    assert watched.steps == whole.index(stop) + 2
    runtime.check_idle()


def _submitted(runtime: Generator, job: str, **fields: Any) -> Generator:
    runtime.submit(generate_job(job, PROMPT, temperature=0, ignore_eos=True, **fields))
    return runtime


def test_a_job_that_takes_a_cancelled_ones_name_gets_none_of_its_tokens(torch_folder: Path) -> None:
    expected = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=12))["a"].token_ids
    runtime = generator(torch_folder, ahead=True)
    runtime.submit(generate_job("a", [70, 71, 72], max_tokens=20, seed=4, ignore_eos=True))
    for _ in range(5):
        runtime.step()
    runtime.cancel("a")
    assert drain(_submitted(runtime, "a", max_tokens=12))["a"].token_ids == expected
    runtime.check_idle()


@pytest.mark.parametrize("resumed_at_once", [False, True])
def test_a_paused_stream_goes_on_exactly(torch_folder: Path, resumed_at_once: bool) -> None:
    expected = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=40))["a"].token_ids
    runtime = _submitted(generator(torch_folder, ahead=True), "a", max_tokens=40)
    runtime.submit(generate_job("b", [8, 9], max_tokens=60, ignore_eos=True))
    outcomes: dict[str, Outcome] = {}
    for step in range(30):
        collect(runtime.step(), outcomes)
        if step % 5 == 0:
            runtime.pause("a")
            if not resumed_at_once:
                collect(runtime.step(), outcomes)
                collect(runtime.step(), outcomes)
            runtime.resume("a")
    drain(runtime, outcomes)
    assert outcomes["a"].token_ids == expected
    assert len(outcomes["b"].token_ids) == 60
    runtime.check_idle()


def test_texts_are_read_beside_it(torch_folder: Path) -> None:
    found = []
    for ahead in (False, True):
        runtime = _submitted(generator(torch_folder, ahead=ahead), "a", max_tokens=30)
        outcomes: dict[str, Outcome] = {}
        for _ in range(3):
            collect(runtime.step(), outcomes)
        runtime.submit(EmbedJob("e", Embed("e", "m", [list(range(5, 65)), [7, 8]], "mean")))
        runtime.submit(ScoreJob("s", Score("s", "m", PROMPT, [[6, 7], [8]])))
        found.append(drain(runtime, outcomes))
        runtime.check_idle()
    plain, ahead_of = found
    assert ahead_of["a"].token_ids == plain["a"].token_ids
    for job in ("e", "s"):
        answer = ahead_of[job].answer
        assert answer is not None
        assert type(answer) is type(plain[job].answer)


@pytest.mark.parametrize("at", [3, 4, 7])
def test_a_step_that_cannot_be_launched_ahead_is_tried_again(
    torch_folder: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that passes costs nobody anything."""
    expected = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=12))["a"].token_ids
    runtime = _submitted(generator(torch_folder, ahead=True), "a", max_tokens=12)
    hidden, steps = runtime.model.hidden, 0

    def failing(batch: Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == at:
            raise RuntimeError("no memory just now")
        return hidden(batch)

    monkeypatch.setattr(runtime.model, "hidden", failing)
    assert drain(runtime)["a"].token_ids == expected
    runtime.check_idle()


def test_only_the_sequence_that_breaks_a_step_fails(torch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=30))["a"].token_ids
    runtime = _submitted(generator(torch_folder, ahead=True), "a", max_tokens=30)
    runtime.submit(generate_job("b", [8, 9], max_tokens=30, ignore_eos=True))
    hidden = runtime.model.hidden

    def failing(batch: Batch) -> torch.Tensor:
        blocks = {one.job: one.blocks[0] for one in runtime.scheduler.running}
        computed = dict(zip(batch.tables[:, 0].tolist(), batch.lengths.tolist(), strict=True))
        if computed.get(blocks.get("b", -1), 0) > 12:
            raise RuntimeError("b breaks it")
        return hidden(batch)

    monkeypatch.setattr(runtime.model, "hidden", failing)
    outcomes = drain(runtime)
    assert outcomes["a"].token_ids == expected
    assert outcomes["b"].error is not None
    assert len(outcomes["b"].token_ids) == 11
    runtime.check_idle()


def test_logits_that_are_not_finite_fail_one_and_leave_nothing_to_be_found(
    torch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = drain(_submitted(generator(torch_folder, ahead=False), "a", max_tokens=30))["a"].token_ids
    runtime = _submitted(generator(torch_folder, ahead=True), "a", max_tokens=30)
    outcomes: dict[str, Outcome] = {}
    collect(runtime.step(), outcomes)
    runtime.submit(generate_job("b", list(range(3, 40)), max_tokens=30, ignore_eos=True))
    logits = runtime.model.logits

    def poisoned(hidden: torch.Tensor) -> torch.Tensor:
        found = logits(hidden).clone()
        if len(found) == 2 and any(one.job == "b" and one.drawn == 6 for one in runtime.scheduler.running):
            found[1] = torch.nan
        return found

    monkeypatch.setattr(runtime.model, "logits", poisoned)
    drain(runtime, outcomes)
    assert outcomes["a"].token_ids == expected
    assert outcomes["b"].error is not None
    assert len(outcomes["b"].token_ids) == 6
    again = generate_job("c", list(range(3, 40)), max_tokens=3, ignore_eos=True)
    runtime.submit(again)
    assert drain(runtime)["c"].cached_tokens == 0
    runtime.check_idle()
