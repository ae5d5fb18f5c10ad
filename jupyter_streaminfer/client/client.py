"""The client: every call that a notebook, a script or the command line makes."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import msgspec

from jupyter_streaminfer.client.encoding import checked, rows
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.predictions import Predictions
from jupyter_streaminfer.client.stream import ClientStream
from jupyter_streaminfer.client.transport import Transport
from jupyter_streaminfer.protocol import (
    Attach,
    Cancel,
    ChatMessage,
    Generate,
    Health,
    LoadModel,
    ModelStatus,
    Predict,
    StreamStatus,
)

T = TypeVar("T")

Messages = Sequence[ChatMessage | dict[str, str]]


class Client:
    """Talks to one engine, in a Jupyter server or in this process; `connect` makes one.

    May be used from any thread and inside a running event loop. Every refusal is a `StreaminferError`, whose
    message says what to do. ``with`` closes it; a dropped client's connection closes itself.
    """

    def __init__(self, transport: Transport, io: IOLoop, release: Callable[[], object]) -> None:
        """``release`` ends every reading and frees ``transport`` and ``io``; called once, by `close`."""
        self._transport = transport
        self._io = io
        self._ids = itertools.count(1)
        self._readings: weakref.WeakValueDictionary[str, ClientStream] = weakref.WeakValueDictionary()
        """The streams that were read here, by id: one connection reads a stream once."""
        self._attaching = threading.Lock()
        self._release = release
        self._closed = False

    @property
    def url(self) -> str | None:
        """The server's base URL; None for an engine in this process."""
        return self._transport.url

    # Models.

    def load(self, name: str, path: str | os.PathLike[str] | None = None) -> ModelStatus:
        """Load a model and wait until it is warmed up; at once where it already is.

        ``path``: a folder in the Hugging Face layout, as the server sees it; a folder that is here is meant where
        it is relative. Without it: the bundled model ``name``. Interrupting the wait leaves the load under way.
        """
        folder = None if path is None else os.path.expanduser(os.fspath(path))
        if folder is not None and os.path.exists(folder):
            # The server has a working directory of its own.
            folder = os.path.abspath(folder)
        return self._call(self._transport.load(LoadModel(name, folder)))

    def unload(self, name: str) -> None:
        """End a model's streams and free it."""
        self._call(self._transport.unload(name))

    def models(self) -> list[ModelStatus]:
        """Every model, loading and failed ones too."""
        return self._call(self._transport.models())

    def model(self, name: str) -> ModelStatus:
        """One model."""
        return self._call(self._transport.model(name))

    def health(self) -> Health:
        """How the engine is."""
        return self._call(self._transport.health())

    # Streams.

    def generate(
        self,
        model: str,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        token_ids: Sequence[int] | None = None,
        max_tokens: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        ignore_eos: bool = False,
        detached: bool = False,
    ) -> ClientStream:
        """Start a stream, from exactly one of ``prompt``, ``messages`` (a chat) and ``token_ids``.

        Returns once the model admitted the prompt; tokens come from then on. The fields are explained at
        `protocol.Generate`.
        """
        request = Generate(
            id="",
            model=model,
            prompt=prompt,
            messages=cast(list[ChatMessage] | None, messages),
            token_ids=cast(list[int] | None, token_ids),
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            ignore_eos=ignore_eos,
            detached=detached,
        )
        return self._start(request)

    def attach(self, stream_id: str) -> ClientStream:
        """Read a stream from its start, whoever began it: also one whose kernel is gone."""
        with self._attaching:
            known = self._readings.get(stream_id)
            if known is not None and known.state != "lost":
                return known
            stream = ClientStream(self, None if known is None else known.request)
            self._call(self._transport.attach(Attach(self._next_id(), stream_id), stream))
            return stream

    def cancel(self, stream_id: str) -> None:
        """End a stream; a closed one stays as it is."""
        self._call(self._transport.cancel(Cancel(self._next_id(), stream_id)))

    def streams(self) -> list[StreamStatus]:
        """Every stream that is kept, open or closed, the oldest first."""
        return self._call(self._transport.streams())

    # Predictions.

    def predict(self, model: str, inputs: Any) -> Predictions:
        """Classify rows: ``[rows, ...]`` as the model's ``input_shape`` says (`ModelInfo`).

        Takes arrays, tensors, nested lists, and frames (one row each); one plain row of numbers is one row.
        """
        request = Predict(self._next_id(), model, rows(inputs))
        return Predictions(self._call(self._transport.predict(request)))

    # The client's own life.

    def close(self) -> None:
        """End every reading and free the connection; an engine in this process ends with its last client."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url or 'embedded'}>"

    def _start(self, request: Generate) -> ClientStream:
        # As it will be read, so that what the stream keeps of it is plain: no arrays, no dicts for messages.
        request, _ = checked(msgspec.structs.replace(request, id=self._next_id()))
        stream = ClientStream(self, request)
        self._call(self._transport.generate(request, stream))
        return stream

    def _adopt(self, stream: ClientStream) -> None:
        self._readings[stream.id] = stream

    def _cancel_soon(self, stream_id: str) -> None:
        """Ask for the end of a stream without waiting; safe in a signal handler."""
        self._io.spawn(self._transport.cancel(Cancel(self._next_id(), stream_id)))

    def _next_id(self) -> str:
        return f"r{next(self._ids)}"

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise RuntimeError("This client is closed; connect() makes a new one.")
        return self._io.run(work)
