"""The OpenAI door: ``streaminfer/v1/...``, as clients of OpenAI's HTTP API speak it."""

from jupyter_streaminfer.server.openai import chat, completions, models

default_handlers = [*models.default_handlers, *completions.default_handlers, *chat.default_handlers]
