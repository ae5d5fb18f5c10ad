"""The client: every call that a notebook, a script or the command line makes."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import msgspec
import numpy as np

from jupyter_streaminfer.client.alerts_calls import AlertsCalls
from jupyter_streaminfer.client.encoding import checked, written
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.metrics_calls import MetricsCalls
from jupyter_streaminfer.client.options import GenerateOptions, Messages, checked_n
from jupyter_streaminfer.client.predicting import PredictCalls
from jupyter_streaminfer.client.publish import PublishCalls
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.stream import ClientStream
from jupyter_streaminfer.client.streams_calls import StreamsCalls
from jupyter_streaminfer.client.transport import Transport
from jupyter_streaminfer.client.widget_calls import WidgetCalls
from jupyter_streaminfer.protocol import (
    Attach,
    Cancel,
    ChatMessage,
    Continue,
    Deadlines,
    Embed,
    Generate,
    Health,
    Likelihood,
    Run,
    Score,
    copies,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_streaminfer.client.bench import LoadTest


class Client(PublishCalls, PredictCalls, WidgetCalls):
    """Talks to one engine, in a Jupyter server or in this process; `connect` makes one.

    May be used from any thread and inside a running event loop. Every refusal is a `StreaminferError`, whose
    message says what to do. Streams outlive lost connections, and what was refused for the moment is asked for
    again (`docs/client.md`). ``with`` closes it; a dropped client's connection closes itself.
    """

    def __init__(
        self, transport: Transport, io: IOLoop, release: Callable[[], object], retries: Retries | None = None
    ) -> None:
        super().__init__(transport, io, release, retries)
        self._readings: weakref.WeakValueDictionary[str, ClientStream] = weakref.WeakValueDictionary()
        """The streams that were read here, by id: one connection reads a stream once."""
        self._attaching = threading.Lock()

    # The engine.

    def health(self) -> Health:
        """How the engine is."""
        return self._call(self._transport.health())

    # Each is made anew: one that was kept would keep the client, and a dropped client's connection closes itself.

    @property
    def metrics(self) -> MetricsCalls:
        """``client.metrics()`` is what the engine measures of itself now; ``.history()``, ``.to_frame()``,
        ``.plot()`` of the last minutes, ``.watch(...)`` live.
        """
        return MetricsCalls(self)

    @property
    def alerts(self) -> AlertsCalls:
        """``client.alerts()`` are the bounds on figures and how they stand; ``.set([...])`` changes them."""
        return AlertsCalls(self)

    def bench(
        self,
        model: str,
        concurrency: Sequence[int] = (1, 2, 4, 8),
        *,
        requests: int = 32,
        prompt_tokens: int = 64,
        output_tokens: int = 64,
    ) -> LoadTest:
        """How fast a model answers random prompts, with so many requests under way at once: one run for each number.

        ``requests``: of each run, and at least as many as are under way at once.
        """
        from jupyter_streaminfer.client.bench import Load, LoadTest, bench

        loads = [Load(each, max(each, requests), prompt_tokens, output_tokens) for each in concurrency]
        return LoadTest(bench(self, model, load) for load in loads)

    # Streams.

    @overload
    def generate(
        self, model: str, prompt: str | None = None, *, n: None = None, **options: Unpack[GenerateOptions]
    ) -> ClientStream: ...

    @overload
    def generate(
        self, model: str, prompt: str | None = None, *, n: int, **options: Unpack[GenerateOptions]
    ) -> list[ClientStream]: ...

    def generate(
        self,
        model: str,
        prompt: str | None = None,
        *,
        n: int | None = None,
        messages: Messages | None = None,
        token_ids: Sequence[int] | None = None,
        max_tokens: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] = {},
        stop: str | Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        min_tokens: int = 0,
        logprobs: int | None = None,
        seed: int | None = None,
        ignore_eos: bool = False,
        priority: int = 0,
        chunk_tokens: int = 1,
        detached: bool = False,
        deadlines: Deadlines | Mapping[str, float] | None = None,
        key: str | None = None,
    ) -> ClientStream | list[ClientStream]:
        """Start a stream, from exactly one of ``prompt``, ``messages`` (a chat) and ``token_ids``.

        Returns once the model admitted the prompt; tokens come from then on. The fields are explained at
        `protocol.Generate`. With ``n`` (1 to 16) it starts so many and returns a list of them, or none where one
        is refused; the second one's seed is ``seed + 1``, and so on.
        """
        request = Generate(
            id=self._next_id(),
            model=model,
            prompt=prompt,
            messages=cast(list[ChatMessage] | None, messages),
            token_ids=cast(list[int] | None, token_ids),
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            logit_bias=cast(dict[int, float], logit_bias),
            stop=[stop] if isinstance(stop, str) else cast(list[str], stop),
            stop_token_ids=cast(list[int], stop_token_ids),
            min_tokens=min_tokens,
            logprobs=logprobs,
            seed=seed,
            ignore_eos=ignore_eos,
            priority=priority,
            chunk_tokens=chunk_tokens,
            detached=detached,
            deadlines=cast(Deadlines | None, deadlines),
            key=key,
        )
        # As it will be read, so that what a stream keeps of it is plain: no arrays, no dicts for messages.
        request, _ = checked(request)
        return self._start([request])[0] if n is None else self._start(copies(request, checked_n(n)))

    def run(
        self,
        model: str,
        inputs: Any,
        *,
        detached: bool = False,
        deadlines: Deadlines | Mapping[str, float] | None = None,
        key: str | None = None,
    ) -> ClientStream:
        """Start a stream of what a model yields (task ``stream``), given ``inputs``: whatever JSON has, and arrays.

        Returns once the model admitted the inputs. `ClientStream.values` has the values, ``text`` the texts that it
        yielded. The fields are explained at `protocol.Run`.
        """
        deadlines = cast(Deadlines | None, deadlines)
        request = Run(self._next_id(), model, written(inputs), detached, deadlines, key)
        request, _ = checked(request)
        return self._start([request])[0]

    def attach(self, stream_id: str, *, snapshot: bool = False) -> ClientStream:
        """Read a stream from its start, whoever began it: also one whose kernel is gone.

        ``snapshot``: where the server no longer keeps its beginning, take that as one text (`ClientStream.snapshot`)
        instead of a refusal.
        """
        with self._attaching:
            known = self._readings.get(stream_id)
            if known is not None and known.state != "lost":
                return known
            stream = ClientStream(self, None if known is None else known.request)
            request = Attach(self._next_id(), stream_id, snapshot=snapshot)
            self._call(
                self._retries.run(
                    lambda: self._transport.attach(request, stream), pure=True, on_retry=stream.note_retry
                )
            )
            return stream

    def cancel(self, stream_id: str) -> None:
        """End a stream; a closed one stays as it is."""
        self._call(self._cancel(stream_id))

    @property
    def streams(self) -> StreamsCalls:
        """``client.streams()`` are those that the engine keeps, open or closed, the oldest first; ``.to_frame()``,
        ``.plot()``.
        """
        return StreamsCalls(self)

    # Texts that are read and not continued.

    def embed(
        self,
        model: str,
        inputs: Sequence[str | Sequence[int]],
        *,
        pooling: Literal["mean", "last"] = "mean",
        normalize: bool = False,
    ) -> NDArray[np.float32]:
        """Embeddings of texts or token ids, ``[texts, hidden size]``; ``normalize``: each of length 1."""
        request = Embed(self._next_id(), model, cast(list[str | list[int]], inputs), pooling, normalize)
        return np.array(self._ask(self._transport.embed, request).vectors, dtype=np.float32)

    def score(
        self, model: str, prompt: str | Sequence[int], continuations: Sequence[str | Sequence[int]]
    ) -> list[Likelihood]:
        """How likely each continuation of the prompt is, in natural logarithms."""
        texts = cast(list[str | list[int]], continuations)
        request = Score(self._next_id(), model, cast(str | list[int], prompt), texts)
        return self._ask(self._transport.score, request).scores

    # The client's own life.

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url or 'embedded'}>"

    def _start(self, requests: Sequence[Generate | Run]) -> list[ClientStream]:
        """Start streams, all or none."""
        requests = [msgspec.structs.replace(request, id=self._next_id()) for request in requests]
        streams = [ClientStream(self, request) for request in requests]
        self._call(self._open(requests, streams))
        return streams

    async def _open(self, requests: Sequence[Generate | Run], streams: list[ClientStream]) -> None:
        pairs = zip(requests, streams, strict=True)
        tasks = [asyncio.create_task(self._begin(request, stream)) for request, stream in pairs]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task, stream in zip(tasks, streams, strict=True):
                if not task.cancel() and stream.id:
                    self._cancel_soon(stream.id)
            raise

    async def _begin(self, request: Generate | Run, stream: ClientStream) -> None:
        transport = self._transport
        await self._retries.run(
            lambda: transport.run(request, stream) if isinstance(request, Run) else transport.generate(request, stream),
            on_retry=stream.note_retry,
        )

    def _resume(self, previous: ClientStream) -> ClientStream:
        """Start the stream that goes on where that one stopped."""
        request = Continue(self._next_id(), previous.id)
        stream = ClientStream(self, previous.request, previous)
        self._call(self._retries.run(lambda: self._transport.continue_(request, stream), on_retry=stream.note_retry))
        return stream

    async def _cancel(self, stream_id: str) -> None:
        request = Cancel(self._next_id(), stream_id)
        await self._retries.run(lambda: self._transport.cancel(request), pure=True)

    def _adopt(self, stream: ClientStream) -> None:
        self._readings[stream.id] = stream

    def _cancel_soon(self, stream_id: str) -> None:
        """Ask for the end of a stream without waiting; safe in a signal handler."""
        self._io.spawn(self._cancel(stream_id))
