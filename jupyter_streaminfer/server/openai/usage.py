"""Token counts in OpenAI's form."""

from __future__ import annotations

from typing import Any

from jupyter_streaminfer.engine import Stream


def usage(streams: list[Stream], n: int) -> dict[str, Any]:
    """The counts of closed streams, ``n`` of each prompt, which is counted once."""
    counts = [stream.terminal.usage for stream in streams if stream.terminal is not None]
    prompts = counts[::n]
    prompt_tokens = sum(each.prompt_tokens for each in prompts)
    completion_tokens = sum(each.completion_tokens for each in counts)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in prompts)},
    }
