"""A server whose streams bring what a test says, when it says so: the native WebSocket as a page sees it."""

from __future__ import annotations

import json
import time
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

CONFIG = {"baseUrl": "http://jupyter.test/"}
"""Of the page."""
WAIT_S = 60


class ScriptedStream:
    """One stream, and the connection of the page that reads it."""

    def __init__(self, id: str, socket: WebSocketRoute | None, request: dict[str, Any]) -> None:
        self.id = id
        self.request = request
        self.cancelled = False
        self.readings = 0
        """How often a page began or went on to read it."""
        self._socket = socket
        self._events: list[dict[str, Any]] = []
        self._tokens = 0

    def attach(self, socket: WebSocketRoute, request: dict[str, Any]) -> None:
        """Tell a page all that it does not have, and what follows."""
        missed = self._events[request.get("after", -1) + 1 :]
        self._socket = socket
        about = {"stream": self.id, "epoch": "e", "floor": 0, "head": 0, "closed": False, "recovered": True}
        socket.send(json.dumps({"type": "attached", "id": request["id"], **about}))
        for event in missed:
            socket.send(json.dumps(event))
        self.readings += 1

    def bring(self, text: str, logprobs: list[Any] | None = None) -> None:
        """A delta, of one token or of as many as are told of."""
        count = len(logprobs or [0])
        times = [10.0 * (self._tokens + index + 1) for index in range(count)]
        self._tokens += count
        self._tell("delta", text=text, token_ids=[1] * count, at_ms=times, logprobs=logprobs)

    def end(self, kind: str = "completed", **fields: Any) -> None:
        """The terminal event."""
        fields = {"finish_reason": "stop"} | fields if kind == "completed" else fields
        usage = {"prompt_tokens": 1, "completion_tokens": self._tokens}
        timings = {"queue_ms": 1.0, "ttft_ms": 10.0, "duration_ms": 10.0 * self._tokens}
        self._tell(kind, usage=usage, timings=timings, **fields)

    def lose(self) -> None:
        """Cut the connection."""
        assert self._socket is not None
        self._socket.close(code=1011)

    def _tell(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "stream": self.id, "seq": len(self._events), **fields}
        self._events.append(event)
        if self._socket is not None:
            self._socket.send(json.dumps(event))


class ScriptedServer:
    """What a page of a Jupyter server connects to; streams are in the order in which they were asked for."""

    def __init__(self, page: Page) -> None:
        self.streams: list[ScriptedStream] = []
        self.refusal: dict[str, Any] | None = None
        """What the next requests are refused with."""
        page.route_web_socket("**/streaminfer/ws*", self._route)
        # The route holds in documents that are opened from now on.
        page.goto("about:blank")
        self._page = page

    def add(self, id: str) -> None:
        """A stream that somebody else began."""
        self.streams.append(ScriptedStream(id, None, {}))

    def asked(self, count: int, readings: int = 1) -> ScriptedStream:
        """The stream that was asked for as the ``count``-th, once it was begun to be read so often."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if len(self.streams) >= count and self.streams[count - 1].readings >= readings:
                return self.streams[count - 1]
            self._page.wait_for_timeout(10)
        raise AssertionError(f"the page asked for {[stream.readings for stream in self.streams]}, not for {count}")

    def _route(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda frame: self._take(socket, json.loads(frame)))

    def _take(self, socket: WebSocketRoute, request: dict[str, Any]) -> None:
        known = next((stream for stream in self.streams if stream.id == request.get("stream")), None)
        match request["type"]:
            case "attach" if known is not None:
                known.attach(socket, request)
            case "cancel" if known is not None:
                known.cancelled = True
                socket.send(json.dumps({"type": "ok", "id": request["id"]}))
                known.end("cancelled", reason="client")
            case "generate" | "continue" if self.refusal is not None:
                socket.send(json.dumps({"type": "error", "id": request["id"], **self.refusal}))
            case "generate" | "continue":
                stream = ScriptedStream(f"st_{len(self.streams) + 1}", socket, request)
                self.streams.append(stream)
                stream.attach(socket, request)
