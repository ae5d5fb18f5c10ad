"""``streaminfer/api/health``: whether requests can be answered."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.server.base import RestHandler


class HealthHandler(RestHandler):
    """The engine's health, for people and for load balancers. Asking keeps no idle server alive."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`Health`, with status 200 while it is ``ok`` and 503 otherwise."""
        health = self.engine.health(len(self.app.gate))
        self.reply(health, 200 if health.status == "ok" else 503)


default_handlers = [(r"/streaminfer/api/health", HealthHandler)]
