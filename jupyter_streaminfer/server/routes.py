"""``streaminfer/api/models/NAME/route``: which versions answer who names none."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import Route
from jupyter_streaminfer.server.base import RestHandler

_route = msgspec.json.Decoder(Route)


class RouteHandler(RestHandler):
    """One model's route."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """`RouteStatus`: the route, and what each version did with its part."""
        self.reply(self.engine.routed(name))

    @web.authenticated
    @authorized
    async def put(self, name: str) -> None:
        """Route by a `Route` from now on; answers with its `RouteStatus`."""
        self.reply(self.engine.route(name, self.body(_route)))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Route no more: the latest version answers."""
        self.engine.route(name, None)
        self.set_status(204)
        self.finish()


default_handlers = [(r"/streaminfer/api/models/([^/]+)/route", RouteHandler)]
