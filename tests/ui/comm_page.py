"""A widget of this process on a bare page: its comm is all that joins them, as in VS Code and in Colab."""

from __future__ import annotations

import base64
import json
import queue
import time
from collections.abc import Callable
from typing import Any

import comm
import pytest
from bare_page import BarePage
from comm.base_comm import BaseComm
from playwright.sync_api import Page

WAIT_S = 30
TURN_MS = 10


class PageComm(BaseComm):
    """A comm that keeps what the kernel says until a page takes it. What comes from the page goes to `handle_msg`."""

    def __init__(self, **about: Any) -> None:
        self.said: queue.SimpleQueue[tuple[str, Any, list[Any]]] = queue.SimpleQueue()
        """Kind of message, data, buffers."""
        self.bytes = 0
        """Of all that was said since a page was drawn."""
        super().__init__(**about)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: list[Any] | None = None, **keys: Any
    ) -> None:
        # As JSON, as a kernel's session writes it: nothing that is said may change afterwards.
        text = json.dumps(data)
        self.bytes += len(text) + sum(len(bytes(each)) for each in buffers or [])
        self.said.put((msg_type, json.loads(text), [bytes(each) for each in buffers or []]))


class CommPage:
    """Draws a widget and carries its messages both ways while a test waits."""

    def __init__(self, bare: BarePage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bare = bare
        self.page: Page = bare.page
        self.heard: list[Any] = []
        """What the page said, in words."""
        self.busy = False
        """While true, the kernel takes nothing: what the page says waits, as in a kernel that runs a cell."""
        self._waiting: list[str] = []
        self._comm: PageComm | None = None
        self._exposed = False
        monkeypatch.setattr(comm, "create_comm", PageComm)

    def show(self, widget: Any) -> Page:
        """Draw a widget, anew where it was drawn already, as a page does that is reloaded."""
        assert isinstance(widget.comm, PageComm)
        self._comm = widget.comm
        self._forget()
        name = type(widget).__module__.rpartition(".")[2]
        widget.send_state()
        state, placed = self._whole()
        self._comm.bytes = 0
        self.bare.show(name, state, None if self._exposed else self._hear, buffers=placed)
        self._exposed = True
        return self.page

    def _whole(self) -> tuple[dict[str, Any], list[tuple[list[Any], str]]]:
        """The state that was sent, and where bytes belong in it; with what another thread changed meanwhile.

        A stream that runs has its widget tell of it at any time. A page that got that for the whole state never drew.
        """
        assert self._comm is not None
        updates: list[tuple[Any, list[Any]]] = []
        while not updates or "_model_module" not in updates[-1][0]["state"]:
            _, data, buffers = self._comm.said.get(timeout=WAIT_S)
            if data.get("method") == "update":
                updates.append((data, buffers))
        state: dict[str, Any] = {}
        placed: dict[str, list[tuple[list[Any], str]]] = {}
        for data, buffers in (updates[-1], *updates[:-1]):
            for key, value in data["state"].items():
                state[key], placed[key] = value, []
            for path, each in zip(data["buffer_paths"], buffers, strict=True):
                placed[path[0]].append((path, _text(each)))
        kept = {key: value for key, value in state.items() if not key.startswith("_")}
        return kept, [place for key in kept for place in placed[key]]

    def turn(self) -> None:
        """Carry what was said meanwhile, to the page and to the kernel."""
        assert self._comm is not None
        while not self._comm.said.empty():
            kind, data, buffers = self._comm.said.get()
            if kind == "comm_msg" and data["method"] == "update":
                given = [data["state"], data.get("buffer_paths", []), [_text(each) for each in buffers]]
                self.page.evaluate("given => window.update(...given)", given)
            elif kind == "comm_msg" and data["method"] == "custom":
                given = [data["content"], [_text(each) for each in buffers]]
                self.page.evaluate("given => window.tell(...given)", given)
        self.page.wait_for_timeout(TURN_MS)
        while self._waiting and not self.busy:
            self._take(self._waiting.pop(0))

    def until(self, reached: Callable[[], object], what: str = "") -> None:
        """Carry messages until something is so."""
        end = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < end, f"{what or 'it'} did not come; the page:\n{self.text}"
            self.turn()

    def until_shown(self, *texts: str) -> None:
        """Carry messages until the page shows these texts."""
        self.until(lambda: all(text in self.text for text in texts), f"{texts}")

    @property
    def text(self) -> str:
        """What the page shows."""
        return self.page.locator("#widget").inner_text()

    def _hear(self, message: str) -> None:
        # The widget's handler runs in the next turn: Playwright calls this in the middle of one of its own calls.
        self._waiting.append(message)

    def _take(self, message: str) -> None:
        assert self._comm is not None
        said = json.loads(message)
        if "message" in said:
            self.heard.append(said["message"])
            data, buffers = {"method": "custom", "content": said["message"]}, said["buffers"]
        else:
            data, buffers = {"method": "update", "state": said["traits"], "buffer_paths": []}, []
        self._comm.handle_msg(
            {"content": {"data": data}, "buffers": [memoryview(base64.b64decode(each)) for each in buffers]}
        )

    def _forget(self) -> None:
        """What was said before the page was there is in the state that it begins with."""
        assert self._comm is not None
        while not self._comm.said.empty():
            self._comm.said.get()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
