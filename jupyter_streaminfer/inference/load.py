"""From a model folder to the runtime of its kind, computed by the first of our forwards that can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import Config, UnsupportedError, read_json, refuse
from jupyter_streaminfer.inference.classifier import ARCHITECTURE, Classifier, ClassifierConfig
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.native_llama import NativeLlama
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.inference.torch_llama import TorchLlama
from jupyter_streaminfer.inference.transformers_model import TransformersModel
from jupyter_streaminfer.protocol import DType


def load_runtime(
    path: Path,
    *,
    dtype: DType = "auto",
    max_batch_size: int = 32,
    max_wait_ms: float = 2.0,
    max_queue: int = 1024,
    step_tokens: int = 1024,
    cache_bytes: int = 512 * 2**20,
    threads: int = 1,
) -> Runtime:
    """Load the model in ``path``; the arguments mean what they mean in ``ModelSpec``. Not warmed up yet.

    ``threads`` bounds the computing threads of the calling thread, which must be the one that steps.
    Raises `StreaminferError` ``invalid_request`` with the reason when the folder cannot be loaded.
    """
    torch.set_num_threads(threads)
    path = Path(path)
    if not path.is_dir():
        raise refuse(f"{path} is no folder: expected a model folder with config.json and model.safetensors")
    values = read_json(path / "config.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if Config(values).architecture() == ARCHITECTURE:
        classifier = Classifier(path, ClassifierConfig.read(values), device)
        return Predictor(classifier, max_batch_size=max_batch_size, max_wait_ms=max_wait_ms, max_queue=max_queue)
    model = _language_model(path, values, dtype, device, cache_bytes, threads)
    return Generator(
        model,
        Tokenizer(path, model.vocabulary),
        cache_bytes=cache_bytes,
        max_batch_size=max_batch_size,
        step_tokens=step_tokens,
        max_queue=max_queue,
    )


def _language_model(
    path: Path, values: dict[str, Any], dtype: DType, device: torch.device, cache_bytes: int, threads: int
) -> CausalModel:
    """The model, computed by the kernels, by the lean forward in torch, or by transformers, in this order."""
    stored = values.get("dtype", values.get("torch_dtype"))
    brief = dtype == "bfloat16" or (dtype == "auto" and stored == "bfloat16")
    # In torch on a CPU bfloat16 is slow and its activations are too, so only who asks for it gets it.
    general = "bfloat16" if brief and (dtype == "bfloat16" or device.type != "cpu") else "float32"
    try:
        size = Architecture.read(values, _affordable(values, cache_bytes))
    except UnsupportedError as error:
        if dtype == "int8":
            raise refuse(f"int8 is for the Llama family only: {error}", "dtype") from None
        return TransformersModel(path, dtype=general, device=device, reason=str(error))
    if device.type == "cpu":
        try:
            kept = "int8" if dtype == "int8" else "bfloat16" if brief else "float32"
            return NativeLlama(path, size, dtype=kept, threads=threads)
        except UnsupportedError as error:
            reason = str(error)
    else:
        reason = f"on {device.type}"
    if dtype == "int8":
        raise refuse(f"int8 is for the kernels of the CPU only: {reason}", "dtype")
    return TorchLlama(path, size, dtype=general, device=device, reason=reason)


def _affordable(values: dict[str, Any], cache_bytes: int) -> int:
    """The tokens that the KV cache's budget holds in float32: no sequence can be longer."""
    size = Architecture.read(values, 1)
    return max(1, cache_bytes // (size.layers * 2 * size.kv_heads * size.head_dim * torch.float32.itemsize))
