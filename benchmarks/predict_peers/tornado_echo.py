"""A bare Tornado WebSocket that answers each request at once with its own inputs: no batcher, no model, no checks."""

from __future__ import annotations

import asyncio

from batching import Count, Counted, Result, decode, encode, options
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Echo(WebSocketHandler):
    def open(self) -> None:
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        request = decode(message)
        if isinstance(request, Count):
            self.write_message(encode(Counted(0, 0)))
        else:
            self.write_message(encode(Result(request.id, request.model, "1", request.inputs)))


async def main() -> None:
    server = HTTPServer(Application([("/ws", Echo)]))
    server.listen(options().port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
