"""The general path: any causal language model that ``transformers`` computes, over our blocks of keys and values.

The model's own code runs on a flat batch, ``[1, N]`` tokens with explicit positions; only its attention function is
replaced, by `Attention` over the blocks. So continuous batching, chunked prefill, the prefix cache and preemption hold
for every family that takes its attention from the library's registry and its positions from ``position_ids``.
Whether a model does is not believed but measured: at load, its logits over blocks are compared with its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch

from jupyter_streaminfer.inference.attention import Attention, Step
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.kv_storage import KVStorage
from jupyter_streaminfer.inference.self_check import SelfCheck
from jupyter_streaminfer.inference.transformers_folder import (
    context_length,
    library,
    open_model,
    text_config,
    windows,
)

REGISTERED = "streaminfer"
"""Under which name our attention stands in the library's registry."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}
"""The deviation of logits that rounding explains; a path that is wrong is some standard deviations off."""

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, Attention], torch.Tensor]
"""Layer, queries ``[N, heads, head_dim]``, keys and values ``[N, kv_heads, head_dim]``, and how the layer attends."""

_attend: ContextVar[Attend] = ContextVar("_attend")
"""What attends in the forward that this thread is in."""


def _attention_function(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """What the library calls for every layer, with ``[1, heads, N, head_dim]``; returns ``[1, N, heads, head_dim]``."""
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    how = Attention(scaling, sliding_window, softcap)
    return _attend.get()(module.layer_idx, queries, keys, values, how)[None], None


class TransformersModel:
    """A `CausalModel` around one of the library's."""

    drawn: torch.Tensor | None = None

    def __init__(self, folder: Path, *, dtype: str, device: torch.device, reason: str) -> None:
        """Load ``folder`` in ``dtype``, float32 or bfloat16, and check it; ``reason``: why this path was chosen.

        Raises `StreaminferError` when it cannot be loaded, or does not compute over blocks what it computes itself.
        """
        whole = open_model(folder, dtype).to(device)
        config = text_config(whole.config)
        self.architecture = type(whole).__name__
        self.runner = f"transformers ({reason})"
        self.dtype = dtype
        self.device = device
        self.vocabulary: int = config.vocab_size
        self.context_length = context_length(config)
        self.parameters = sum(tensor.numel() for tensor in whole.parameters())
        self.weight_bytes = sum(tensor.nbytes for tensor in whole.parameters())
        self._whole = whole
        expected = windows(config, self.context_length)
        try:
            with torch.inference_mode():
                check = SelfCheck.prepare(
                    self._plain_logits,
                    vocabulary=self.vocabulary,
                    context_length=self.context_length,
                    window=min(filter(None, expected), default=None),
                )
                self._body, self._handover = _divide(whole)
                shapes, self.hidden_size = self._discover(expected)
            self._storage = KVStorage(shapes, getattr(torch, dtype), device)
            self.token_bytes = self._storage.token_bytes
            deviation = check.deviation(self)
        except Exception as error:  # whatever the model's own code raises
            raise refuse(f"{self.architecture} cannot be run over blocks of keys and values: {error}") from error
        if not deviation <= TOLERANCE[dtype]:
            raise refuse(
                f"{self.architecture} over blocks of keys and values does not compute what it computes by itself: a"
                f" logit is {deviation:.2g} standard deviations off, expected at most {TOLERANCE[dtype]}; its attention"
                " or its positions are not what the general path can replace"
            )

    def allocate(self, blocks: int) -> None:
        """See `CausalModel.allocate`."""
        self._storage.allocate(blocks)

    def clear(self, blocks: list[int]) -> None:
        """See `CausalModel.clear`."""
        self._storage.clear(blocks)

    @torch.inference_mode()
    def hidden(self, batch: Batch) -> torch.Tensor:
        """See `CausalModel.hidden`."""
        step = Step(batch, self.device)

        def attend(
            layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, how: Attention
        ) -> torch.Tensor:
            return how(queries, torch.stack([keys, values], 1), self._storage.layers[layer], step)

        states: torch.Tensor = self._run(attend, step.token_ids, step.positions).last_hidden_state[0]
        return states[step.outputs].float()

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `CausalModel.logits`."""
        self._handover.states = hidden.to(getattr(torch, self.dtype))[None]
        placeholder = torch.zeros(1, len(hidden), dtype=torch.int64, device=self.device)
        logits: torch.Tensor = self._whole(placeholder, use_cache=False).logits[0].float()
        return logits

    def _plain_logits(self, prompt: list[int]) -> torch.Tensor:
        """What the model computes by itself for every position; only before it is divided."""
        ids = torch.tensor([prompt], device=self.device)
        logits: torch.Tensor = self._whole(ids, use_cache=False).logits[0].float().cpu()
        return logits

    def _run(self, attend: Attend, token_ids: torch.Tensor, positions: torch.Tensor) -> Any:
        """What the body returns for ``[N]`` tokens at these positions."""
        token = _attend.set(attend)
        try:
            return self._body(input_ids=token_ids[None], position_ids=positions[None], use_cache=False)
        finally:
            _attend.reset(token)

    def _discover(self, expected: list[int | None]) -> tuple[list[tuple[int, int]], int]:
        """Run one token to see ``(kv_heads, head_dim)`` of each layer, and the width of the last hidden states.

        Raises `StreaminferError` unless every layer attends once, as far back as the config says.
        """
        shapes: dict[int, tuple[int, int]] = {}
        found: dict[int, int | None] = {}

        def attend(
            layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, how: Attention
        ) -> torch.Tensor:
            if layer in shapes or keys.shape != values.shape:
                raise refuse(f"layer {layer} does not attend once, with keys and values of one size")
            shapes[layer] = keys.shape[1], keys.shape[2]
            found[layer] = None if how.window is None or how.window >= self.context_length else how.window
            return values.repeat_interleave(queries.shape[1] // keys.shape[1], 1)

        nothing = torch.zeros(1, dtype=torch.int64, device=self.device)
        output = self._run(attend, nothing, nothing)
        self._handover.output = type(output)
        if found != dict(enumerate(expected)):
            raise refuse(
                f"{len(found)} of its {len(expected)} layers attend through the registry of transformers, with sliding"
                f" windows {sorted(set(map(str, found.values())))}, where config.json has"
                f" {sorted(set(map(str, expected)))}"
            )
        return [shapes[layer] for layer in range(len(shapes))], output.last_hidden_state.shape[-1]


class _Handover(torch.nn.Module):
    """Stands where a model's body was, so that its forward applies to given states what comes after the body.

    That keeps whatever the family does there, a scale or a soft cap, in its own code.
    """

    output: type
    """The class of what the body returns."""
    states: torch.Tensor

    def forward(self, *_: object, **__: object) -> Any:
        return self.output(last_hidden_state=self.states)


def _divide(whole: Any) -> tuple[Any, _Handover]:
    """Give the model our attention and take its body out of it."""
    library().AttentionInterface.register(REGISTERED, _attention_function)
    whole.set_attn_implementation(REGISTERED)
    body = whole.get_decoder()
    name = next(name for name, module in whole.named_modules() if module is body)
    if not name:
        raise refuse("its body cannot be told from its head")
    handover = _Handover()
    whole.set_submodule(name, handover)
    return body, handover
