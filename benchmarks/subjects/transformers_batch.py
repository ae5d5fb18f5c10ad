"""``transformers``' continuous batching, read from its queue as its tokens come."""

from __future__ import annotations

import time

from child import ChildSubject, serve
from subject import Setting

WAIT_S = 0.005


class Peer(ChildSubject):
    """Its defaults, but for the cache, whose own default is 60 % of all memory."""

    dtypes = frozenset({"float32", "bfloat16"})
    distributions = ("transformers", "torch")


class ContinuousBatching:
    """An `Engine` over its manager, which computes on a thread of its own."""

    def __init__(self, setting: Setting) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        torch.set_num_threads(setting.threads)
        model = AutoModelForCausalLM.from_pretrained(
            setting.folder, dtype=getattr(torch, setting.dtype), attn_implementation="sdpa"
        )
        cache = ContinuousBatchingConfig()
        blocks = -(-setting.tokens // cache.page_size)
        cache.num_blocks = (setting.streams + 1) * blocks
        self.manager = model.init_continuous_batching(
            generation_config=GenerationConfig.from_dict({"do_sample": False, "eos_token_id": -1}),
            continuous_batching_config=cache,
        )
        self.manager.start()
        self.received: dict[str, int] = {}

    def add(self, index: int, token_ids: list[int], max_tokens: int) -> None:
        self.received[str(index)] = 0
        self.manager.add_request(token_ids, str(index), max_new_tokens=max_tokens, streaming=True)

    def step(self) -> list[tuple[int, int, float]]:
        tokens: list[tuple[int, int, float]] = []
        timeout = WAIT_S
        while (output := self.manager.get_result(timeout=timeout)) is not None:
            at = time.perf_counter()
            if output.error:
                raise RuntimeError(output.error)
            new = output.generated_tokens[self.received[output.request_id] :]
            self.received[output.request_id] += len(new)
            tokens += [(int(output.request_id), token, at) for token in new]
            timeout = 0.0
        if not self.manager.is_running():
            raise RuntimeError("its thread ended")
        return tokens


if __name__ == "__main__":
    serve(ContinuousBatching)
