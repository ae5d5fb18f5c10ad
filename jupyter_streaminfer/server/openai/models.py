"""``streaminfer/v1/models``: what can be asked here."""

from __future__ import annotations

import time
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import ModelStatus, StreaminferError
from jupyter_streaminfer.server.openai.handler import OpenAIHandler

CREATED = int(time.time())
"""When this server began; a folder does not say when its model was made."""


class ModelsHandler(OpenAIHandler):
    """The models that are ready to generate."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"object": "list", "data": [...]}``."""
        data = [_model(status) for status in self.engine.models() if status.state == "ready" and _generates(status)]
        self.reply({"object": "list", "data": data})


class ModelHandler(OpenAIHandler):
    """One of them."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """The model; ``model_not_found`` for one that predicts, ``model_not_ready`` for one that is loading."""
        status = self.engine.model(name)
        if status.state != "ready":
            retryable = status.state == "loading"
            raise StreaminferError(
                "model_not_ready", f"Model {name!r} is {status.state}.", field="model", retryable=retryable
            )
        if not _generates(status):
            raise StreaminferError("model_not_found", f"Model {name!r} generates no text.", field="model")
        self.reply(_model(status))


def _generates(status: ModelStatus) -> bool:
    return status.info is not None and status.info.task == "generate"


def _model(status: ModelStatus) -> dict[str, Any]:
    context = status.info.context_length if status.info is not None else 0
    return {
        "id": status.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "jupyter_streaminfer",
        "max_model_len": context,
    }


default_handlers = [
    (r"/streaminfer/v1/models", ModelsHandler),
    (r"/streaminfer/v1/models/([^/]+)", ModelHandler),
]
