"""Bars of what is under way: who draws them, and where there are none."""

import asyncio
import io
import sys
import threading
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from jupyter_streaminfer.client import progress
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.notebook_bar import NotebookBar
from jupyter_streaminfer.client.progress import Report, Step, polled, run_with_bar
from jupyter_streaminfer.protocol import StreaminferError


class Terminal(io.StringIO):
    """A terminal that knows when it showed something."""

    def __init__(self) -> None:
        super().__init__()
        self.showed = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "m: reading" in text:
            self.showed.set()
        return super().write(text)


@pytest.fixture
def loop() -> Any:
    loop = IOLoop()
    yield loop
    loop.stop()


async def reporting(report: Report) -> str:
    report(Step("m: starting", 0, 0))
    report(Step("m: reading", 5 * 2**20, 10 * 2**20))
    return "done"


def test_a_bar_is_drawn_in_a_terminal(loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage is shown: tqdm alone, asked to show the same count again and again, once did not for minutes."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "DELAY_S", 0.0)

    async def until_shown(report: Report) -> str:
        while not screen.showed.is_set():
            await reporting(report)
            await asyncio.sleep(0.01)
        return "done"

    assert run_with_bar(loop, until_shown, shown=True) == "done"
    assert "5.00M/10.0M" in screen.getvalue()


def test_a_log_has_none(loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    assert run_with_bar(loop, reporting, shown=True) == "done"
    assert log.getvalue() == ""


def test_what_is_quick_has_none(loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "DELAY_S", 3600.0)
    assert run_with_bar(loop, reporting, shown=True) == "done"
    assert "m: " not in screen.getvalue()


def test_it_is_drawn_by_the_thread_that_waits(loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[threading.Thread] = []

    class Bar:
        total, bar_format, n = None, None, 0

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

        def set_description_str(self, *_: object, **__: object) -> None:
            drawn.append(threading.current_thread())

        def update(self, n: float) -> None: ...

        def refresh(self) -> None: ...

    monkeypatch.setattr(progress, "bar", lambda text: Bar())
    run_with_bar(loop, reporting, shown=True)
    assert drawn == [threading.current_thread()] * 2


@pytest.mark.parametrize("shown", [True, False])
def test_what_fails_is_raised(loop: IOLoop, shown: bool) -> None:
    async def failing(report: Report) -> None:
        raise StreaminferError("internal", "broken")

    with pytest.raises(StreaminferError, match="broken"):
        run_with_bar(loop, failing, shown=shown)


async def test_looking_ends_with_the_work_and_cannot_make_it_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setattr(progress, "POLL_S", 0.0)
    looked, steps = asyncio.Event(), list[Step]()
    looks = 0

    async def look() -> Step | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise StreaminferError("internal", "no answer")
        if looks > 3:
            looked.set()
        return Step("m", looks, 10) if looks > 2 else None

    async def work() -> int:
        await looked.wait()
        return 7

    assert await polled(work(), look, steps.append) == 7
    before = looks
    for _ in range(10):
        await asyncio.sleep(0)
    assert looks == before
    assert steps[0] == Step("m", 3, 10)


@pytest.fixture
def published() -> Any:
    """What a notebook's shell would send to the page."""
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    before, shell.display_pub = shell.display_pub, publisher
    yield publisher.outputs
    shell.display_pub = before
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("done", [4, 10], ids=["before its end", "at its end"])
def test_a_bar_takes_its_output_away(done: int, published: list[dict[str, Any]]) -> None:
    """The bar of tqdm left an empty output, and a red bar where the last look was before the end."""
    with NotebookBar(desc="<b>m</b>: reading", total=10, delay=1e-9, leave=False) as bar:
        bar.update(done)
        bar.refresh()
        container = bar.container
        [shown] = published
        assert "application/vnd.jupyter.widget-view+json" in shown["data"]
        assert "&lt;b&gt;" in container.children[0].value
    assert len(published) == 2
    assert published[1]["update"]
    assert published[1]["data"] == {}
    assert published[1]["transient"] == shown["transient"], "the same output"
    assert container.comm is None, "closed"


def test_a_bar_that_was_never_due_shows_nothing(published: list[dict[str, Any]]) -> None:
    with NotebookBar(desc="m", total=10, delay=3600, leave=False) as bar:
        bar.update(4)
    assert published == []
