"""What one message may hold, and the names that have a form."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A request's JSON text; a longer one is refused as ``too_large`` unread."""
MAX_PROMPT_CHARACTERS = 1_000_000
MAX_CHAT_MESSAGES = 1_000
MAX_TOKENS = 1_000_000
"""No model is asked for more new tokens than this; its own context is usually the nearer limit."""
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_LOGIT_BIAS = 1024
MAX_LOGPROBS = 20
MAX_CHUNK_TOKENS = 4096
MAX_PREDICT_ROWS = 4096
MAX_TEXTS = 256
MAX_KEY_CHARACTERS = 128
MAX_DEADLINE_MS = 24 * 3600 * 1000.0
"""No deadline of a stream is further away, in milliseconds."""
DEFAULT_MAX_TOKENS = 128
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a model may be called, matched whole: no separators, so a name can never be a path."""

RequestId = Annotated[str, Meta(min_length=1, max_length=128)]
VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
"""What a version may be called, matched whole; ``latest`` is none."""
FACTORY_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
"""``module:function``, matched whole; what a model may be loaded from instead of a path, where it is allowed."""

ModelName = Annotated[str, Meta(min_length=1, max_length=64)]
ModelVersion = Annotated[str, Meta(min_length=1, max_length=32)]
ModelRef = Annotated[str, Meta(min_length=1, max_length=97)]
"""``name``, which is routed; ``name@version``; or ``name@latest``."""
StreamId = Annotated[str, Meta(min_length=1, max_length=64)]
