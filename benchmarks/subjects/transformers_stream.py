"""``transformers``' ``generate`` with a streamer, one request after another: what a notebook does today."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from child import ChildSubject, serve
from subject import Setting

if TYPE_CHECKING:
    import torch


class Peer(ChildSubject):
    """See the module."""

    dtypes = frozenset({"float32", "bfloat16"})
    serial = True
    distributions = ("transformers", "torch")


class Generate:
    """An `Engine` whose step is one whole request."""

    def __init__(self, setting: Setting) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(setting.threads)
        dtype = getattr(torch, setting.dtype)
        self.model: Any = AutoModelForCausalLM.from_pretrained(setting.folder, dtype=dtype)
        self.waiting: deque[tuple[int, torch.Tensor, int]] = deque()

    def add(self, index: int, token_ids: list[int], max_tokens: int) -> None:
        import torch

        self.waiting.append((index, torch.tensor([token_ids]), max_tokens))

    def step(self) -> list[tuple[int, int, float]]:
        index, prompt, max_tokens = self.waiting.popleft()
        tokens = Tokens()
        self.model.generate(
            prompt,
            max_new_tokens=max_tokens,
            min_new_tokens=max_tokens,
            do_sample=False,
            streamer=tokens,
            use_cache=True,
        )
        return [(index, token, at) for token, at in tokens.arrived[prompt.shape[1] :]]


class Tokens:
    """A streamer: what `generate` hands out, and when; the prompt comes first."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, float]] = []

    def put(self, value: torch.Tensor) -> None:
        at = time.perf_counter()
        self.arrived += [(token, at) for token in value.flatten().tolist()]

    def end(self) -> None:
        pass


if __name__ == "__main__":
    serve(Generate)
