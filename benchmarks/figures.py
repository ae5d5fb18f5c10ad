"""Figures as the benchmarks state them. Standard library only, as `workload`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""What a processor can do that decides how fast matrices are multiplied."""
PACKAGES = ("jupyter_streaminfer", "jupyter_server", "tornado", "torch", "numpy", "transformers")


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` percent of ``values`` do not exceed (nearest rank); 0 where there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share / 100 * len(ordered) + 0.5) - 1))]


def summary(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the worst, rounded to 0.01."""
    shares = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "worst": 100.0}
    return {name: round(percentile(values, share), 2) for name, share in shares.items()}


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    about = _cpuinfo()
    flags = about.get("flags", "").split()
    return {
        "cpu": about.get("model name") or platform.processor(),
        "family": about.get("cpu family", ""),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of ``/proc/cpuinfo``."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def keep(name: str, figures: dict[str, object], folder: Path = RESULTS) -> str:
    """Write the figures and what they were measured on to ``NAME.json``; returns the text."""
    document = {"measured": datetime.now(UTC).date().isoformat(), "machine": machine(), **figures}
    text = json.dumps(document, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text + "\n")
    return text
