"""A model folder opened by ``transformers`` for one forward a batch: nothing is fetched, executed or unpickled."""

from __future__ import annotations

from typing import Any

import torch

from jupyter_streaminfer.inference.checkpoint import Config, read_json, refuse, require_finite
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.transformers_folder import library

MAX_LABELS = 2**20


def open_encoder(source: Source, kind: str) -> Any:
    """The folder's model, in ``eval`` on the source's device; ``kind``: the name of an ``AutoModelFor...``.

    Raises `StreaminferError` when it is quantised or an adapter, needs code of its own, when ``transformers`` cannot
    load it, or when a tensor is missing, misshapen or not finite.
    """
    folder = source.path
    values = read_json(folder / "config.json")
    if values.get("quantization_config") is not None:
        raise refuse("config.json: quantization_config is not supported, expected float32, bfloat16 or float16 weights")
    if (folder / "adapter_config.json").exists():
        raise refuse("adapter_config.json: adapters are not supported, expected a whole model")
    _refuse_kernels(values)
    source.keep_arguments()
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    source.progress("reading", 0, total)
    dtype = source.float_type()
    if source.dtype == "auto" and source.device.type != "cpu" and _stored(values) == "bfloat16":
        dtype = torch.bfloat16
    transformers = library()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = getattr(transformers, kind).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # it is we who say which
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # whatever the model's own code raises
        raise refuse(f"transformers cannot load this model: {error}") from error
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise refuse(f"tensor {name} has shape {list(found)}, expected {list(expected)}")
    # A body without its pooler is whole for us: what it says of a text is pooled from its hidden states.
    missing = [name for name in report["missing_keys"] if not (kind == "AutoModel" and "pooler." in name)]
    if missing:
        raise refuse(f"tensor {min(missing)} is missing")
    for name, tensor in model.named_parameters():
        require_finite(name, tensor)
    source.progress("reading", total, total)
    source.progress("preparing")
    return model.to(source.device).eval()


def labels_of(model: Any) -> list[str]:
    """The classes of a config's ``id2label``, in the model's order; `StreaminferError` where they are none."""
    count = Config({"num_labels": getattr(model.config, "num_labels", None)}).integer("num_labels", 1, MAX_LABELS)
    names = getattr(model.config, "id2label", None) or {}
    labels = [str(names.get(index, f"LABEL_{index}")) for index in range(count)]
    if len(set(labels)) != count:
        raise refuse("config.json: id2label must give each class a name of its own")
    return labels


def facts(model: Any) -> dict[str, Any]:
    """What a `ModelInfo` says of a model of transformers."""
    return {
        "architecture": type(model).__name__,
        "parameters": sum(each.numel() for each in model.parameters()),
        "weight_bytes": sum(each.nbytes for each in [*model.parameters(), *model.buffers()]),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "runner": "transformers",
    }


def _refuse_kernels(value: Any) -> None:
    """Refuse a config that names attention code on the Hugging Face Hub, which ``transformers`` would fetch and run."""
    for name, part in value.items() if isinstance(value, dict) else []:
        if name.endswith("attn_implementation") and part not in (None, "eager", "sdpa"):
            raise refuse(f"config.json: {name} must be eager or sdpa, found {part!r:.80}")
        _refuse_kernels(part)


def _stored(values: dict[str, Any]) -> Any:
    return values.get("dtype", values.get("torch_dtype"))
