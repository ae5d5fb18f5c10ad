"""``streaminfer/api/metrics``: what the engine carries, in numbers."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.server.base import RestHandler


class MetricsHandler(RestHandler):
    """The engine's numbers, for people and for what watches servers. Asking keeps no idle server alive."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`Metrics`."""
        self.reply(self.engine.metrics(len(self.app.gate)))


default_handlers = [(r"/streaminfer/api/metrics", MetricsHandler)]
