"""A bare Tornado WebSocket with a micro-batcher on its loop."""

from __future__ import annotations

import asyncio

from batching import Count, MicroBatcher, decode, options
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Predictions(WebSocketHandler):
    def initialize(self, batcher: MicroBatcher) -> None:
        self.batcher = batcher

    def open(self) -> None:
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        request = decode(message)
        if isinstance(request, Count):
            self.write_message(self.batcher.count())
        else:
            self.batcher.submit(request, self.write_message)


async def main() -> None:
    chosen = options()
    batcher = MicroBatcher(chosen.model, chosen.size, chosen.wait_ms)
    server = HTTPServer(Application([("/ws", Predictions, {"batcher": batcher})]))
    server.listen(chosen.port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
