"""What every address has that loads a model: the choice whether to wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from jupyter_streaminfer.protocol import ModelStatus, StreaminferError
from jupyter_streaminfer.server.base import RestHandler

_WAIT = {"true": True, "1": True, "false": False, "0": False}


class LoadingHandler(RestHandler):
    """Answers once a version is ready; with ``?wait=false`` at once, with 202 and the status of what loads now."""

    async def reply_when_loaded(self, name: str, load: Coroutine[Any, Any, ModelStatus]) -> None:
        """Load in the background, and answer. A caller that leaves leaves the load under way."""
        asked = self.get_query_argument("wait", "true")
        if asked not in _WAIT:
            load.close()
            raise StreaminferError("invalid_request", "wait must be true or false.", field="wait")
        if _WAIT[asked]:
            self.reply(await load)
            return
        task = self.app.in_background(load, f"Loading model {name[:64]!r}")
        # A load is listed from its first turn on the loop on, or refused in it.
        await asyncio.wait([task], timeout=0)
        if task.done():
            self.reply(await task)
        else:
            self.reply(_loading(self.engine.models(), name) or self.engine.model(name), 202)


def _loading(models: list[ModelStatus], name: str) -> ModelStatus | None:
    """The version of that name whose load was asked for last."""
    return next((each for each in reversed(models) if each.name == name and each.state == "loading"), None)
