"""vLLM without the core that it leaves free for its server by default."""

from __future__ import annotations

from subjects import vllm


class Peer(vllm.Peer):
    """Faster or slower, as the machine will have it."""

    variant = True
    variables = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
