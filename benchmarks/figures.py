"""Figures as the benchmarks state them."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` percent of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share / 100 * len(ordered) + 0.5) - 1))]


def summary(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the worst, rounded to 0.01."""
    shares = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "worst": 100.0}
    return {name: round(percentile(values, share), 2) for name, share in shares.items()}


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cores": os.cpu_count(), "cpu": model or platform.processor(), "python": platform.python_version()}


def keep(name: str, figures: dict[str, object]) -> None:
    """Print the figures and write them to ``results/NAME.json``."""
    document = {"measured": datetime.now(UTC).date().isoformat(), "machine": machine(), **figures}
    text = json.dumps(document, indent=2)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
