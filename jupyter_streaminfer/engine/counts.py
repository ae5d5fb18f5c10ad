"""What the engine had to do since its start, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counts:
    """See `protocol.Metrics` for each."""

    slow_consumers: int = 0
    pauses: int = 0
    retries: int = 0
    deadlines: Counter[str] = field(default_factory=Counter)
