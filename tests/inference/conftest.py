"""Small random Llama folders, and a driver that runs a runtime until nothing is left to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.protocol import (
    ErrorInfo,
    Finished,
    Generate,
    GenerateJob,
    JobEvent,
    JobFailed,
    Rejected,
    Started,
    Tokens,
)

TEXTS = ["The asyncio module runs coroutines.", "naïve café, 你好, 🙂🎉, éèê", "def f(x):\n    return x + 1\n"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n    {% if message['role'] == 'system' %}\n"
    "{{ raise_exception('no system turn') }}{% endif %}\n<{{ message['role'] }}>{{ message['content'] }}"
    "{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


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


def build_folder(folder: Path, *, seed: int = 0, chat: bool = True, shard: str | None = None, **changes: Any) -> Path:
    """A random float32 Llama; ``changes`` are fields of its config."""
    torch.manual_seed(seed)
    fields: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    model = LlamaForCausalLM(LlamaConfig(**(fields | changes)))
    for name, parameter in model.named_parameters():
        if "norm" in name:  # ones otherwise, which would hide a norm that is left out
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    build_tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random model for all that does not change it."""
    return build_folder(tmp_path_factory.mktemp("llama"))


def load_generator(folder: Path, **arguments: Any) -> Generator:
    runtime = load_runtime(folder, threads=1, **arguments)
    assert isinstance(runtime, Generator)
    return runtime


@dataclass
class Outcome:
    """What one job's events came to."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: str | None = None
    error: ErrorInfo | None = None
    starts: int = 0
    ends: int = 0


def collect(events: list[JobEvent], outcomes: dict[str, Outcome]) -> None:
    """Add a step's events, and check that they come in an order that may be."""
    for event in events:
        outcome = outcomes.setdefault(event.job, Outcome())
        assert outcome.ends == 0, f"{event} after the end"
        if isinstance(event, Started):
            outcome.starts += 1
            continue
        assert outcome.starts == 1, f"{event} before or after another start"
        if isinstance(event, Tokens):
            outcome.token_ids += event.token_ids
            outcome.text += event.text
        elif isinstance(event, Finished):
            outcome.text += event.text
            outcome.reason = event.finish_reason
            outcome.ends += 1
        elif isinstance(event, JobFailed):
            outcome.error = event.error
            outcome.ends += 1


def drain(runtime: Runtime) -> dict[str, Outcome]:
    """Step until idle: the outcome of each job. Fails when a step neither progresses nor ends."""
    outcomes: dict[str, Outcome] = {}
    for _ in range(10_000):
        if runtime.due_in() is None:
            return outcomes
        collect(runtime.step(), outcomes)
    raise AssertionError("the runtime never came to rest")


def generate_job(job: str, token_ids: list[int] | None = None, *, seed: int = 0, **fields: Any) -> GenerateJob:
    return GenerateJob(job, Generate(job, "model", token_ids=token_ids, **fields), seed)


def rejected(runtime: Runtime, job: Any) -> ErrorInfo:
    """Why the runtime refuses ``job``."""
    event = runtime.submit(job)
    assert isinstance(event, Rejected), event
    return event.error
