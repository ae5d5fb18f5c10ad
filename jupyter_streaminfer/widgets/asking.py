"""What the widgets that start streams ask for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.protocol import ErrorInfo, Generate, StreaminferError
from jupyter_streaminfer.widgets.snapshot import Figures, Snapshot


def generate_request(model: str, options: Mapping[str, Any], **source: Any) -> Generate:
    """The request of `Client.generate` with these options, checked; ``source`` is ``prompt`` or ``messages``.

    Raises `StreaminferError` that names an option that is wrong, or is none.
    """
    for name in options:
        if name not in Generate.__struct_fields__ or name in ("id", "model", "prompt", "messages", "token_ids"):
            raise StreaminferError(
                "invalid_request", f"{name}: there is no such option. See client.generate.", field=name
            )
    given = dict(options)
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    return checked(Generate(id="w", model=model, **source, **given))[0]


def as_json(value: Any) -> Any:
    """A struct as a trait holds it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def refused(error: Exception) -> Snapshot:
    """What is shown in place of a stream that did not begin."""
    info = error.info if isinstance(error, StreaminferError) else ErrorInfo("internal", str(error))
    return Snapshot("", "", None, None, "", "failed", Figures(0, None, None), info, None, False)


def in_background(task: Callable[[], object]) -> None:
    """Do what waits for the engine on a thread of its own: a comm's handler may not."""
    threading.Thread(target=task, name="streaminfer-ask", daemon=True).start()


def in_parallel(client_call: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """``client_call`` of each at the same time; an exception is returned in place of a result."""

    async def run() -> list[Any]:
        calls = [asyncio.to_thread(client_call, item) for item in items]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results: list[Any] = []
    # On a thread of its own: a notebook's own event loop is running on this one.
    thread = threading.Thread(target=lambda: results.extend(asyncio.run(run())), name="streaminfer-ask")
    thread.start()
    thread.join()
    return results
