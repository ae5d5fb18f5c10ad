"""Small random models with a tokenizer, and a driver that runs a runtime until nothing is left to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tiny_models import build_causal
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.protocol import (
    Admitted,
    Embedded,
    ErrorInfo,
    Finished,
    Generate,
    GenerateJob,
    Job,
    JobEvent,
    JobFailed,
    Rejected,
    ScoredTexts,
    Started,
    TokenLogprobs,
    Tokens,
)

TEXTS = ["The asyncio module runs coroutines.", "naïve café, 你好, 🙂🎉, éèê", "def f(x):\n    return x + 1\n"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'system' %}\n"
    "{{ raise_exception('no system turn') }}{% endif %}\n<{{ message['role'] }}>{{ message['content'] }}"
    "{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
FORWARDS = {"native": 16, "torch": 12}
"""Which of our forwards computes a Llama on a CPU is decided by the size of its heads."""


def build_tokenizer(vocabulary: int = 320, chat: bool = True) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        **({"chat_template": TEMPLATE} if chat else {}),
    )


def small(kind: type[PreTrainedConfig] = LlamaConfig, **changes: Any) -> PreTrainedConfig:
    """A config of two layers, in the names that most families have."""
    fields: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": FORWARDS["native"],
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return kind(**(fields | changes))


def build_folder(folder: Path, config: PreTrainedConfig | None = None, *, chat: bool = True, **changes: Any) -> Path:
    """A random float32 model and its tokenizer; ``changes`` are fields of a Llama's config."""
    build_causal(folder, config or small(**changes))
    build_tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random model, computed by the kernels, for all that does not change it."""
    return build_folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def torch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but computed by torch."""
    return build_folder(tmp_path_factory.mktemp("torch"), head_dim=FORWARDS["torch"])


@pytest.fixture(params=["llama_folder", "torch_folder"], ids=FORWARDS, scope="session")
def either_folder(request: pytest.FixtureRequest) -> Path:
    """First the one, then the other."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(scope="session")
def general_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of no family of ours, computed by transformers."""
    return build_folder(tmp_path_factory.mktemp("general"), small(GPTNeoXConfig))


@pytest.fixture(params=["llama_folder", "torch_folder", "general_folder"], ids=[*FORWARDS, "general"], scope="session")
def any_folder(request: pytest.FixtureRequest) -> Path:
    """One after the other."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@cache
def token_bytes(folder: Path) -> int:
    """What a token of the folder's model takes in the KV cache."""
    return load_generator(folder).model.token_bytes


def load_generator(folder: Path, *, blocks: int | None = None, **arguments: Any) -> Generator:
    """The runtime of a folder; ``blocks``: of the KV cache, all that it gets."""
    if blocks is not None:
        arguments["cache_bytes"] = blocks * 16 * token_bytes(folder)
    runtime = load_runtime(folder, threads=1, **arguments)
    assert isinstance(runtime, Generator)
    return runtime


@dataclass
class Outcome:
    """What one job's events came to."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    """How many tokens came with each event."""
    cached_tokens: int = 0
    reason: str | None = None
    error: ErrorInfo | None = None
    answer: Embedded | ScoredTexts | None = None
    starts: int = 0
    ends: int = 0


def collect(events: list[JobEvent], outcomes: dict[str, Outcome]) -> None:
    """Add a step's events, and check that they come in an order that may be."""
    for event in events:
        outcome = outcomes.setdefault(event.job, Outcome())
        assert outcome.ends == 0, f"{event} after the end"
        match event:
            case Started():
                outcome.starts += 1
                outcome.cached_tokens = event.cached_tokens
                assert outcome.starts == 1, "a second start"
            case Tokens():
                assert outcome.starts == 1, f"{event} before the start"
                outcome.token_ids += event.token_ids
                outcome.text += event.text
                outcome.logprobs += event.logprobs or []
                outcome.chunks.append(len(event.token_ids))
            case Finished():
                assert outcome.starts == 1, f"{event} before the start"
                outcome.text += event.text
                outcome.reason = event.finish_reason
                outcome.ends += 1
            case JobFailed():
                outcome.error = event.error
                outcome.ends += 1
            case Embedded() | ScoredTexts():
                outcome.answer = event
                outcome.ends += 1
            case _:
                raise AssertionError(f"{event} is nothing that a step brings")


def drain(runtime: Runtime, outcomes: dict[str, Outcome] | None = None) -> dict[str, Outcome]:
    """Step until idle: the outcome of each job, added to what is known. Fails when it never ends."""
    outcomes = {} if outcomes is None else outcomes
    for _ in range(10_000):
        if runtime.due_in() is None:
            return outcomes
        collect(runtime.step(), outcomes)
    raise AssertionError("the runtime never came to rest")


def alone(runtime: Runtime, job: Job) -> Outcome:
    """What comes of a job when there is no other."""
    assert isinstance(runtime.submit(job), Admitted | None)
    return drain(runtime)[job.job]


def generate_job(job: str, token_ids: list[int] | None = None, *, seed: int = 0, **fields: Any) -> GenerateJob:
    return GenerateJob(job, Generate(job, "model", token_ids=token_ids, **fields), seed)


def rejected(runtime: Runtime, job: Any) -> ErrorInfo:
    """Why the runtime refuses ``job``."""
    event = runtime.submit(job)
    assert isinstance(event, Rejected), event
    return event.error
