"""Progress bars: what is under way on the I/O thread, drawn on the thread that waits for it.

A notebook shows what a cell's own thread prints under that cell; what another thread prints may end up anywhere.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jupyter_streaminfer.client.loop import INTERRUPTIBLE_S, IOLoop
from jupyter_streaminfer.client.watched import watched
from jupyter_streaminfer.protocol import StreaminferError

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

DELAY_S = 0.5
"""What takes no longer is not worth a bar."""
POLL_S = 0.25
"""How often what cannot tell of itself is looked at."""


class Step(NamedTuple):
    """How far something is."""

    text: str
    done: int
    total: int
    """0 where it is not known."""


Report = Callable[[Step], object]


def bar(text: str, total: int | None = None, *, unit: str = "B", shown: bool = True) -> tqdm[Any]:
    """A bar of tqdm, which appears once it took `DELAY_S`; none unless ``shown``, in a notebook or a terminal."""
    from tqdm.asyncio import tqdm_asyncio
    from tqdm.auto import tqdm

    # That is what it is outside a notebook. There None stands for a terminal alone: a log wants no bars.
    elsewhere = tqdm is tqdm_asyncio
    if not elsewhere and not watched():
        shown = False  # a bar leaves a trace in the outputs that a notebook is compared by
    counts_bytes = unit == "B"
    kind = tqdm
    if not elsewhere:
        from jupyter_streaminfer.client.notebook_bar import NotebookBar

        kind = NotebookBar
    return kind(
        desc=text,
        total=total,
        unit=unit if counts_bytes else f" {unit}",
        unit_scale=counts_bytes,
        unit_divisor=1024,
        delay=DELAY_S,
        leave=False,
        disable=None if shown and elsewhere else not shown,
    )


def run_with_bar(io: IOLoop, work: Callable[[Report], Coroutine[Any, Any, T]], *, shown: bool) -> T:
    """Run ``work(report)`` on the I/O loop and wait for it, with a bar of what it reports.

    Interrupting the wait cancels it.
    """
    if not shown:
        return io.run(work(lambda step: None))
    steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
    future = io.begin(work(steps.put))
    future.add_done_callback(lambda _: steps.put(None))
    try:
        _draw(steps)
    except BaseException:
        future.cancel()
        raise
    return io.finish(future)


def _draw(steps: queue.SimpleQueue[Step | None]) -> None:
    began, stage = time.monotonic(), ""
    with bar("") as shown:
        while True:
            try:
                step = steps.get(timeout=INTERRUPTIBLE_S)
            except queue.Empty:
                continue
            if step is None:
                return
            shown.total = step.total or None
            # Where nobody knows how much there is, only how long it takes can be said.
            shown.bar_format = None if step.total else "{desc} {elapsed}"
            shown.set_description_str(step.text + (": " if step.total else ""), refresh=False)
            shown.update(step.done - shown.n)
            if step.text != stage and time.monotonic() - began >= DELAY_S:
                stage = step.text
                shown.refresh()  # by itself tqdm shows what has grown, once it has grown enough


async def polled(work: Awaitable[T], look: Callable[[], Awaitable[Step | None]], report: Report) -> T:
    """What ``work`` returns; meanwhile ``look`` is asked how far it is, once it has taken `DELAY_S`."""
    poll = asyncio.create_task(_poll(look, report))
    try:
        return await work
    finally:
        poll.cancel()


async def _poll(look: Callable[[], Awaitable[Step | None]], report: Report) -> None:
    await asyncio.sleep(DELAY_S)
    while True:
        with suppress(StreaminferError):
            # A look that fails is no reason to fail; whatever is wrong the work itself will say.
            if (step := await look()) is not None:
                report(step)
        await asyncio.sleep(POLL_S)
