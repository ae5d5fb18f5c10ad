"""llama.cpp without flash attention, which rounds more on the CPU: so its float32 tokens are everybody's."""

from __future__ import annotations

from functools import partial

from child import serve

from subjects import llama_cpp


class Peer(llama_cpp.Peer):
    """See the module."""

    variant = True


if __name__ == "__main__":
    serve(partial(llama_cpp.LlamaCpp, flash_attention=False))
