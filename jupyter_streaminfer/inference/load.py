"""From a model folder to the runtime of its kind, computed by the first of our forwards that can."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import Config, UnsupportedError, read_json, refuse
from jupyter_streaminfer.inference.factory import Yields, is_factory, load_factory
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.native_llama import NativeLlama
from jupyter_streaminfer.inference.predict_model import PredictModel
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.inference.progress import Progress, silent
from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.inference.torch_llama import TorchLlama
from jupyter_streaminfer.inference.transformers_model import TransformersModel
from jupyter_streaminfer.inference.yielding import Yielding
from jupyter_streaminfer.protocol import DType, Signature

LOADERS = "jupyter_streaminfer.inference."
EMBEDDER = "embedder:load_embedder"
FILES = {
    ".pt2": "exported:load_exported",
    ".pt": "torchscript:load_torchscript",
    ".ts": "torchscript:load_torchscript",
    ".skops": "sklearn_model:load_sklearn",
}
"""The loader of each kind of file, by how its name ends."""
FOLDERS = {
    r"MlpClassifier": "classifier:load_classifier",
    r"ExportedProgram": "exported:load_published",
    r"\w+ForSequenceClassification": "text_classifier:load_text_classifier",
    r"\w+ForTokenClassification": "token_classifier:load_token_classifier",
    r"\w+ForImageClassification\w*": "image_classifier:load_image_classifier",
    r"\w+(?<!LMHead)(?<!DoubleHeads)Model": EMBEDDER,
}
"""The loader of each kind of folder, by its architecture; all others are language models."""
SENTENCES = "modules.json"
"""What a folder of sentence-transformers has, which embeds whatever its architecture."""


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
    signature: Signature | None = None,
    arguments: Mapping[str, Any] | None = None,
    allowed_factories: Sequence[str] = (),
    allow_torchscript: bool = False,
    skops_trusted: Sequence[str] = (),
    progress: Progress = silent,
) -> Runtime:
    """Load the model in ``path``; the arguments mean what they mean in ``ModelSpec``. Not warmed up yet.

    ``threads`` bounds the computing threads of the calling thread, which must be the one that steps.
    Raises `StreaminferError` ``invalid_request`` with the reason when it cannot be loaded.
    """
    torch.set_num_threads(threads)
    source = Source(
        Path(path),
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        dtype,
        signature,
        arguments or {},
        allowed_factories,
        allow_torchscript,
        skops_trusted,
        progress,
    )
    loader = _loader(source.path)
    model = loader(source) if loader else _language_model(source, cache_bytes, threads)
    if isinstance(model, Yields):
        return Yielding(model.function, model.info, max_running=max_batch_size, max_queue=max_queue)
    if isinstance(model, PredictModel):
        return Predictor(model, max_batch_size=max_batch_size, max_wait_ms=max_wait_ms, max_queue=max_queue)
    return Generator(
        model,
        Tokenizer(source.path, model.vocabulary),
        cache_bytes=cache_bytes,
        max_batch_size=max_batch_size,
        step_tokens=step_tokens,
        max_queue=max_queue,
    )


def _loader(path: Path) -> Callable[[Source], PredictModel | Yields] | None:
    """What loads the model there; None for a language model's folder."""
    if is_factory(str(path)):
        return load_factory
    if path.is_dir():
        architecture = Config(read_json(path / "config.json")).architecture()
        name = next((FOLDERS[each] for each in FOLDERS if re.fullmatch(each, architecture)), None)
        if (path / SENTENCES).is_file():
            name = EMBEDDER
    elif not path.exists():
        kinds = ", ".join(FILES)
        raise refuse(f"{path} is no folder and no file: expected a model folder, a file ({kinds}) or module:function")
    elif (name := FILES.get(path.suffix)) is None:
        raise refuse(
            f"{path.name} is no folder, and no kind of file that is loaded: expected {', '.join(FILES)}, or a folder"
            " with config.json and model.safetensors (pickles are never read)"
        )
    if name is None:
        return None
    module, _, function = name.partition(":")
    found: Callable[[Source], PredictModel] = getattr(importlib.import_module(LOADERS + module), function)
    return found


def _language_model(source: Source, cache_bytes: int, threads: int) -> CausalModel:
    """The model, computed by the kernels, by the lean forward in torch, or by transformers, in this order."""
    source.keep_arguments()
    path, dtype, device = source.path, source.dtype, source.device
    values = read_json(path / "config.json")
    stored = values.get("dtype", values.get("torch_dtype"))
    brief = dtype == "bfloat16" or (dtype == "auto" and stored == "bfloat16")
    # In torch on a CPU bfloat16 is slow and its activations are rounded too, so only who asks for it gets it.
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
            return NativeLlama(path, size, dtype=kept, rounds=dtype == "bfloat16", threads=threads)
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
