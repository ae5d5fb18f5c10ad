"""What the engine had to do since its start, counted: see `protocol.Metrics` for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jupyter_streaminfer.engine.sketch import Sketch


@dataclass
class Counts:
    """With streams."""

    slow_consumers: int = 0
    pauses: int = 0
    retries: int = 0
    deadlines: Counter[str] = field(default_factory=Counter)


@dataclass
class LoadCounts:
    """With models."""

    swaps: int = 0
    restarts: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Loads, by ``ready`` or ``failed``."""
    took_ms: Sketch = field(default_factory=Sketch)
    """Those that were ready."""
