"""The page's way to the server, as bad as a test wants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

Fault = Callable[[WebSocketRoute, WebSocketRoute, str], None]


class Wire:
    """Passes every frame of the native WebSocket on, but for what a test does to it.

    Playwright hands frames over while the test waits in one of its calls.
    """

    def __init__(self, page: Page) -> None:
        self.connections = 0
        """How often the page connected; those that were turned away count too."""
        self.down = False
        """While true, connections are closed as soon as they are made, and those there are with their next frame."""
        self.deltas = 0
        """How many deltas came from the server so far, merged ones counting as one."""
        self.holds_acks = False
        """While true, what the page acknowledges is kept back."""
        self.sent: list[Any] = []
        """What the page said, but for acks and pings."""
        self.on_delta: Fault = lambda page, server, frame: page.send(frame)
        """What becomes of a delta."""
        self._held: list[tuple[WebSocketRoute, str]] = []
        page.route_web_socket("**/streaminfer/ws*", self._route)

    def release_acks(self) -> None:
        """Pass on what was kept back, and what is acknowledged from now on."""
        self.holds_acks = False
        for server, frame in self._held:
            server.send(frame)
        self._held.clear()

    @property
    def held_acks(self) -> int:
        return len(self._held)

    def _route(self, page: WebSocketRoute) -> None:
        self.connections += 1
        if self.down:
            page.close(code=1011)
            return
        server = page.connect_to_server()
        acknowledged = False

        def to_page(frame: str | bytes) -> None:
            assert isinstance(frame, str)
            if self.down:
                cut(page, server)
            elif json.loads(frame)["type"] == "delta":
                self.deltas += 1
                self.on_delta(page, server, frame)
            else:
                page.send(frame)

        def to_server(frame: str | bytes) -> None:
            nonlocal acknowledged
            assert isinstance(frame, str)
            message = json.loads(frame)
            if message["type"] not in ("ack", "ping"):
                self.sent.append(message)
            # Without any ack the server would count what the socket took.
            if message["type"] == "ack" and self.holds_acks and acknowledged:
                self._held.append((server, frame))
            else:
                acknowledged = acknowledged or message["type"] == "ack"
                server.send(frame)

        server.on_message(to_page)
        page.on_message(to_server)


def cut(page: WebSocketRoute, server: WebSocketRoute) -> None:
    """End a connection, to both sides."""
    server.close()
    page.close(code=1011)
