"""What samples take of the event loop's own time: counted where they are made and where they are sent.

`configuration` writes a file that a Jupyter server reads at its start; it has the server count and keep the count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATION = "import sys\nsys.path.insert(0, {folder!r})\nimport dashboard_cost\ndashboard_cost.install({count!r})\n"


def configuration(folder: Path) -> tuple[Path, Path]:
    """A configuration file, and where the server that reads it keeps its count."""
    file, count = folder / "dashboard_cost_config.py", folder / "count.json"
    file.write_text(CONFIGURATION.format(folder=str(Path(__file__).parent), count=str(count)))
    return file, count


def install(count: str) -> None:
    """In the server: count the seconds that its loop computes for samples, and keep them with each of these."""
    from jupyter_streaminfer.engine.sampler import Sampler
    from jupyter_streaminfer.server.connection import Connection

    spent = {"made": 0.0, "sent": 0.0}

    def timed(kind: str, call: Callable[..., Any], *arguments: Any) -> None:
        began = time.thread_time()
        try:
            call(*arguments)
        finally:
            spent[kind] += time.thread_time() - began

    make, write = Sampler._take, Connection._write

    def take(sampler: Sampler) -> None:
        timed("made", make, sampler)
        Path(count).write_text(json.dumps(spent))

    def send(connection: Connection) -> None:
        if connection._watcher is None:
            write(connection)
        else:
            timed("sent", write, connection)

    Sampler._take, Connection._write = take, send  # type: ignore[method-assign]


def read(count: Path) -> dict[str, float]:
    """Seconds so far: ``made`` and ``sent``."""
    found: dict[str, float] = json.loads(count.read_text())
    return found
