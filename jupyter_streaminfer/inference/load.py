"""From a model folder to the runtime of its family."""

from __future__ import annotations

from pathlib import Path

import torch

from jupyter_streaminfer.inference.checkpoint import Config, read_json, refuse
from jupyter_streaminfer.inference.classifier import ARCHITECTURE, Classifier, ClassifierConfig
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.kv_cache import KVCache
from jupyter_streaminfer.inference.llama import Llama, LlamaConfig
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.inference.tokenizer import Tokenizer

COMPANY = 4
"""Sequences that should fit the KV cache together; a long context is shortened for it."""
SHORTENED_CONTEXT = 2048
"""But not below this."""


def load_runtime(
    path: Path,
    *,
    max_batch_size: int = 32,
    max_wait_ms: float = 2.0,
    max_queue: int = 1024,
    step_tokens: int = 1024,
    cache_bytes: int = 512 * 2**20,
    threads: int = 0,
) -> Runtime:
    """Load the model in ``path``; the arguments mean what they mean in ``ModelSpec``. Not warmed up yet.

    ``threads`` bounds torch's computing threads on the calling thread, which must be the one that steps.
    Raises `StreaminferError` ``invalid_request`` with the reason when the folder cannot be loaded.
    """
    if threads > 0:
        torch.set_num_threads(threads)
    path = Path(path)
    if not path.is_dir():
        raise refuse(f"{path} is no folder: expected a model folder with config.json and model.safetensors")
    values = read_json(path / "config.json")
    architecture = Config(values).architecture()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if architecture == ARCHITECTURE:
        classifier = Classifier(path, ClassifierConfig.read(values), device)
        return Predictor(classifier, max_batch_size=max_batch_size, max_wait_ms=max_wait_ms, max_queue=max_queue)
    if architecture != "LlamaForCausalLM":
        raise refuse(
            f"config.json: architecture {architecture!r:.80} is not supported,"
            f" expected LlamaForCausalLM or {ARCHITECTURE}"
        )
    config = LlamaConfig.read(values)
    tokenizer = Tokenizer(path, config.vocabulary)
    cache = KVCache(
        layers=config.layers,
        heads=config.kv_heads,
        head_dim=config.head_dim,
        context_length=_context_length(config, cache_bytes),
        max_batch_size=max_batch_size,
        cache_bytes=cache_bytes,
        device=device,
    )
    model = Llama(path, config, device)
    return Generator(model, tokenizer, cache, step_tokens=step_tokens, max_queue=max_queue)


def _context_length(config: LlamaConfig, cache_bytes: int) -> int:
    """The model's own context, or what the cache's budget allows where that is long: slots are whole contexts."""
    affordable = cache_bytes // KVCache.token_bytes(config.layers, config.kv_heads, config.head_dim) // COMPANY
    return min(config.context_length, max(SHORTENED_CONTEXT, affordable))
