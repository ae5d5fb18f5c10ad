"""How fast a model answers under load, by the client's own clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jupyter_streaminfer.client.timings import Percentiles
from jupyter_streaminfer.client.transport import Transport
from jupyter_streaminfer.protocol import (
    Attached,
    Completed,
    Delta,
    Event,
    Failed,
    Generate,
    Incomplete,
    Notice,
    StreaminferError,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from jupyter_streaminfer.client.client import Client

TOKEN_IDS = 256
"""Prompts are drawn from the first ids, which every tokenizer with a byte alphabet has."""


@dataclass(frozen=True)
class Load:
    """What to ask of a model."""

    concurrency: int
    """Requests under way at once."""
    requests: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Report:
    """What came of it. Times in milliseconds from the sending of a request, in the client."""

    model: str
    load: Load
    duration_s: float
    """Of the whole run."""
    tokens: int
    """Received."""
    tokens_per_second: float
    """Received, over the whole run."""
    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    """Between a token's arrival and that of the one before; tokens that come in one message are 0 apart."""

    def json(self) -> str:
        """The report as one JSON object."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def table(self) -> str:
        """The report for a terminal."""
        lines = [
            f"{self.model}: {self.load.requests} requests, {self.load.concurrency} at once, "
            f"{self.load.prompt_tokens} tokens in, {self.load.output_tokens} out",
            f"{'ms':<6}{'p50':>10}{'p95':>10}{'p99':>10}",
        ]
        for name, times in (("TTFT", self.ttft_ms), ("ITL", self.itl_ms)):
            if times is not None:
                lines.append(f"{name:<6}{times.p50:>10.2f}{times.p95:>10.2f}{times.p99:>10.2f}")
        lines.append(f"{self.tokens_per_second:.1f} tokens/s ({self.tokens} tokens in {self.duration_s:.2f} s)")
        return "\n".join(lines)


class LoadTest(list[Report]):
    """A model under several loads, the lightest first: a list, a table, a frame and a picture."""

    def to_frame(self) -> pd.DataFrame:
        """One row a load: ``model``, ``open`` (requests at once), ``requests``, ``prompt_tokens``, ``output_tokens``,
        ``duration_s``, ``tokens_out_per_s``, and ``ttft_`` and ``itl_`` each with ``p50_ms``, ``p95_ms``, ``p99_ms``.
        """
        import pandas as pd

        rows = []
        for report in self:
            load = report.load
            row: dict[str, Any] = {
                "model": report.model,
                "open": load.concurrency,
                "requests": load.requests,
                "prompt_tokens": load.prompt_tokens,
                "output_tokens": load.output_tokens,
                "duration_s": report.duration_s,
                "tokens_out_per_s": report.tokens_per_second,
            }
            for name, times in (("ttft", report.ttft_ms), ("itl", report.itl_ms)):
                for quantile in Percentiles.__dataclass_fields__:
                    row[f"{name}_{quantile}_ms"] = math.nan if times is None else getattr(times, quantile)
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """TTFT, ITL and tokens/s against the number of requests at once, as a matplotlib figure."""
        from jupyter_streaminfer.client import plots

        return plots.against_load(self.to_frame())

    def __repr__(self) -> str:
        return "\n".join(report.table() for report in self)


def bench(client: Client, model: str, load: Load) -> Report:
    """Ask for random prompts, ``load.concurrency`` at a time.

    Raises an `ExceptionGroup` of `StreaminferError` when one is refused or fails.
    """
    return client._call(_bench(client, client._transport, model, load))


@dataclass(eq=False)
class Arrivals:
    """The sink of one stream: notes when each token comes."""

    sent: float
    ended: asyncio.Future[None]
    stream: str = ""
    times: list[float] = field(default_factory=list)

    def attached(self, attached: Attached) -> None:
        """Note which stream it is."""
        self.stream = attached.stream

    def events(self, events: list[Event]) -> None:
        """Note the arrival of tokens, and the end."""
        now = time.perf_counter()
        for event in events:
            match event:
                case Delta():
                    self.times += [now] * len(event.token_ids)
                case Completed() if not self.ended.done():
                    self.ended.set_result(None)
                case Failed():
                    self.lost(StreaminferError.of(event.error))
                case Incomplete():
                    self.lost(StreaminferError("deadline", "A stream's time was over during the run."))
                case _:
                    self.lost(StreaminferError("cancelled", "A stream was cancelled during the run."))

    def notice(self, notice: Notice) -> None:
        """What delays it shows in its times."""

    def lost(self, error: StreaminferError) -> None:
        """The run is over."""
        if not self.ended.done():
            self.ended.set_exception(error)
            # Read, also where the run was over before.
            self.ended.exception()


async def _bench(client: Client, transport: Transport, model: str, load: Load) -> Report:
    prompts = iter(np.random.default_rng().integers(0, TOKEN_IDS, (load.requests, load.prompt_tokens)).tolist())
    arrivals: list[Arrivals] = []
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency):
            group.create_task(_ask(client, transport, model, load.output_tokens, prompts, arrivals))
    duration_s = time.perf_counter() - began
    tokens = sum(len(each.times) for each in arrivals)
    return Report(
        model=model,
        load=load,
        duration_s=round(duration_s, 6),
        tokens=tokens,
        tokens_per_second=round(tokens / duration_s, 1),
        ttft_ms=Percentiles.of([1000 * (each.times[0] - each.sent) for each in arrivals if each.times]),
        itl_ms=Percentiles.of([1000 * gap for each in arrivals for gap in np.diff(each.times).tolist()]),
    )


async def _ask(
    client: Client,
    transport: Transport,
    model: str,
    output_tokens: int,
    prompts: Iterator[list[int]],
    arrivals: list[Arrivals],
) -> None:
    for prompt in prompts:
        request = Generate(
            client._next_id(), model, token_ids=prompt, max_tokens=output_tokens, temperature=0.0, ignore_eos=True
        )
        sink = Arrivals(time.perf_counter(), asyncio.get_running_loop().create_future())
        arrivals.append(sink)
        await transport.generate(request, sink)
        try:
            await sink.ended
        except asyncio.CancelledError:
            # Another request failed, or the run was interrupted.
            client._cancel_soon(sink.stream)
            raise
