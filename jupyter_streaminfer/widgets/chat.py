"""The widget for a conversation with a model."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import traitlets

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.options import GenerateOptions
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.asking import as_json, generate_request, in_background, refused
from jupyter_streaminfer.widgets.mirror import Mirror
from jupyter_streaminfer.widgets.reach import page_reaches_engine
from jupyter_streaminfer.widgets.saved import SavedView, preformatted
from jupyter_streaminfer.widgets.snapshot import Snapshot

STATIC = Path(__file__).parent / "static"
SETTLE_S = 60.0


class Chat(SavedView):
    """A conversation: answers stream in, and can be stopped, asked for again and copied; past turns can be edited.

    On a page of the Jupyter server that has the model, the page asks and reads by itself, also while the kernel is
    busy. Elsewhere it asks through the kernel.
    """

    _esm = STATIC / "chat.js"
    _css = STATIC / "chat.css"

    model = traitlets.Unicode().tag(sync=True)
    """``name`` or ``name@version``."""
    system = traitlets.Unicode().tag(sync=True)
    """What the model is told before the conversation; empty for nothing."""
    turns = traitlets.List(traitlets.Dict()).tag(sync=True)
    """``{"role": "user", "content": …}`` and ``{"role": "assistant", "answer": Snapshot}``, the oldest first."""
    said = traitlets.Int(0).tag(sync=True)
    """How often the page has changed the turns."""
    heard = traitlets.Int(0).tag(sync=True)
    """How many of these changes the kernel knows: what it says of the turns before it knows all is out of date."""
    live = traitlets.Any(None).tag(sync=True)
    """The `Snapshot` of the answer that is coming, for a page that does not read it by itself; or None."""
    request = traitlets.Dict().tag(sync=True)
    """The `Generate` that the page asks with, but for its messages."""
    server = traitlets.Bool().tag(sync=True)
    """Whether the server of the page has the model."""
    direct = traitlets.Bool().tag(sync=True)
    """Set by a page that reads answers by itself."""

    def __init__(self, client: Client, model: str, *, system: str = "", **options: Unpack[GenerateOptions]) -> None:
        """``options`` are those of `Client.generate`, for each answer; without ``max_tokens`` the server's own holds.

        Raises `StreaminferError` where the model has no chat template, or an option is wrong.
        """
        request = generate_request(model, options, messages=[])
        info = client.model(model).info
        if info is not None and not info.chat:
            raise StreaminferError(
                "invalid_request",
                f"{model} has no chat template, so it does not know turns: use client.generate({model!r}, prompt), or "
                "put a chat_template.jinja into the model's folder and load it again.",
                field="model",
            )
        self._client = client
        self._options: Mapping[str, Any] = options
        self._streams: dict[str, ClientStream] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._asking = threading.RLock()
        """One answer is asked for at a time."""
        self._changing = threading.RLock()
        """Of `turns`, which the I/O thread changes too; nobody waits for anything while holding it."""
        super().__init__(model=model, system=system, request=as_json(request), server=page_reaches_engine(client))
        self.on_msg(self._receive)
        self.observe(self._adopt, "turns")
        traitlets.dlink((self, "said"), (self, "heard"))

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as ``role`` and ``content``, as `Client.generate` takes it; answers as far as they came."""
        said = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            if turn["role"] == "user":
                said.append({"role": "user", "content": str(turn["content"])})
            elif content := self._content(turn["answer"]):
                said.append({"role": "assistant", "content": content})
        return said

    @property
    def streams(self) -> list[ClientStream]:
        """The streams of the answers that are there, the oldest first."""
        ids = [turn["answer"]["stream"] for turn in self.turns if turn["role"] == "assistant"]
        return [self._streams[id] for id in ids if id in self._streams]

    def send(self, content: str) -> ClientStream:
        """Say something; returns the stream of the answer once it began.

        Raises `StreaminferError` where it is refused, or an answer is still coming; then nothing was said.
        """
        if any(not stream.done for stream in self.streams):
            raise StreaminferError("invalid_request", "An answer is still coming: wait for it, or call chat.stop().")
        turns = list(self.turns)
        self.turns = [*turns, {"role": "user", "content": content}]
        try:
            return self._answer()
        except StreaminferError:
            self.turns = turns
            raise

    def stop(self) -> None:
        """End the answer that is coming; what came of it stays."""
        for stream in self.streams:
            stream.cancel(wait=False)

    def clear(self) -> None:
        """Begin anew."""
        self.stop()
        self.turns = []

    def text(self) -> str:
        """Every turn after the name of who said it."""
        said = [f"{self._speaker(each['role'])}: {each['content']}" for each in self.messages]
        return "\n\n".join(said) or f"[a conversation with {self.model}]"

    def html(self) -> str:
        """The same, with the names set off."""
        said = [
            f"<p><strong>{html.escape(self._speaker(each['role']))}</strong></p>{preformatted(each['content'])}"
            for each in self.messages
        ]
        return "".join(said) or preformatted(self.text())

    def settle(self) -> None:
        """Wait for the answer that is coming, at most `SETTLE_S`."""
        for stream in self.streams:
            with suppress(StreaminferError, TimeoutError):
                stream.wait(SETTLE_S)

    def _speaker(self, role: str) -> str:
        return {"user": "You", "system": "System"}.get(role, self.model)

    def _content(self, answer: dict[str, Any]) -> str:
        """The text of an answer: what the kernel has of its stream, if that is more than the page said last."""
        text, stream = str(answer["text"]), self._streams.get(answer["stream"] or "")
        begun = answer.get("begun") or {}
        own = "" if stream is None else str(begun.get("text", "")) + stream.text
        return own if len(own) > len(text) else text

    def _asked(self) -> list[dict[str, str]]:
        """The messages up to the question; what got no answer is asked together with what follows."""
        asked: list[dict[str, str]] = []
        for message in self.messages:
            if asked and asked[-1]["role"] == message["role"] == "user":
                message = {"role": "user", "content": f"{asked.pop()['content']}\n\n{message['content']}"}
            asked.append(message)
        return asked

    def _answer(self) -> ClientStream:
        """Ask for an answer to the turns as they are."""
        with self._asking:
            request = generate_request(self.model, self._options, messages=self._asked())
            return self._show(self._client._start([request])[0], self.turns)

    def _go_on(self) -> ClientStream:
        """Have the last answer go on where it stopped."""
        with self._asking:
            return self._show(self.streams[-1].resume(), self.turns[:-1])

    def _show(self, stream: ClientStream, turns: list[dict[str, Any]]) -> ClientStream:
        """Its answer comes after those turns."""
        self._streams[stream.id] = stream
        self.direct = False
        with self._changing:
            self.turns = [*turns, {"role": "assistant", "answer": _answer_of(Snapshot.of(stream))}]
        self._follow(stream)
        return stream

    def _follow(self, stream: ClientStream) -> None:
        self._mirrors[stream.id] = Mirror(stream, self._put, quiet=lambda: self.direct)

    def _put(self, snapshot: Snapshot) -> None:
        """Tell the page of an answer; once it has ended it is part of its turn. Called on the client's I/O thread."""
        answer = _answer_of(snapshot)
        with self._changing:
            place = next((i for i, turn in enumerate(self.turns) if _stream(turn) == snapshot.stream), None)
            if place is None:
                return
            begun = self.turns[place]["answer"].get("begun")
            if begun and not answer["begun"]:  # The page had it go on: this kernel reads the new part alone.
                answer |= {"begun": begun, "text": begun["text"] + answer["text"]}
                answer["figures"]["tokens"] += begun["tokens"]
            if snapshot.state == "streaming":
                self.live = answer
                return
            turn = {"role": "assistant", "answer": answer}
            with self.hold_sync():
                self.live = None
                self.turns = [*self.turns[:place], turn, *self.turns[place + 1 :]]

    def _adopt(self, change: object) -> None:
        """Read what the page began, so that it is in `streams`; end what is no turn any longer."""
        ids = {id for turn in self.turns if (id := _stream(turn))}
        for id in self._streams.keys() - ids:
            self._streams.pop(id).cancel(wait=False)
            if mirror := self._mirrors.pop(id, None):
                mirror.close()
        for id in ids - self._streams.keys():
            in_background(partial(self._attach, id))

    def _attach(self, id: str) -> None:
        with suppress(StreaminferError), self._asking:
            if id not in self._streams:
                stream = self._client.attach(id, snapshot=True)
                self._streams[id] = stream
                self._follow(stream)

    def _receive(self, widget: object, content: dict[str, Any], buffers: object) -> None:
        """What a page asks that cannot ask the server itself; waits for nothing."""
        match content.get("type"):
            case "answer":
                in_background(partial(self._try, self._answer))
            case "continue" if self.streams:
                in_background(partial(self._try, self._go_on))
            case "stop":
                self.stop()
            case "keep":
                in_background(self.keep)

    def _try(self, begin: Callable[[], ClientStream]) -> None:
        """Begin an answer, or say in its place why there is none."""
        try:
            begin()
        except StreaminferError as error:
            failed = _answer_of(refused(error))
            with self._changing:
                turns = list(self.turns)
                if turns and turns[-1]["role"] == "assistant":
                    failed = turns.pop()["answer"] | {"state": "failed", "error": failed["error"], "resumable": False}
                self.turns = [*turns, {"role": "assistant", "answer": failed}]


def _stream(turn: dict[str, Any]) -> str | None:
    """The id of an answer's stream."""
    return turn["answer"]["stream"] or None if turn["role"] == "assistant" else None


def _answer_of(snapshot: Snapshot) -> dict[str, Any]:
    """As a turn holds it: its request is the turns before it."""
    return snapshot.as_json() | {"request": None}
