"""A stream in JupyterLab whose connection, worker, reader or time gives out: the page never shows a gap or a repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from lab import Lab, wait_until
from notebook_page import NotebookPage
from test_pictures import DARK, LIGHT
from test_stream_output import ENDLESS, MIME, document, newest
from wire import Wire, cut

CELL = """
import jupyter_streaminfer as si
client = si.connect()
client.load({model!r}, {path!r}, placement={placement!r})
client.generate({model!r}, "The quick brown fox", max_tokens={tokens}, ignore_eos=True, seed=1, deadlines={deadlines!r})
"""
NARROW = {
    "StreaminferApp.window_tokens": 256,
    "StreaminferApp.max_stream_bytes": 32 * 1024,
    "StreaminferApp.client_requests_per_s": 0.5,
    "StreaminferApp.client_requests_burst": 3,
}
"""Bounds so narrow that such a stream meets them."""
CUTS = 12
PATIENCE_S = 120.0
COVER = """() => {
    window.covered = [];
    window.draw = window.requestAnimationFrame;
    window.requestAnimationFrame = callback => window.covered.push(callback);
    return new Promise(done => window.draw(() => window.draw(done)));
}"""
"""Makes a page as one that is hidden: no animation frame comes, but for those that were asked for before."""
UNCOVER = """() => {
    window.requestAnimationFrame = window.draw;
    window.covered.forEach(callback => window.requestAnimationFrame(callback));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("narrow-lab"), NARROW)
    yield lab
    lab.stop()


@pytest.fixture
def wire(notebook: NotebookPage) -> Wire:
    return Wire(notebook.page)


class Cells:
    """Code that shows a stream, one that does not end by itself where nothing else is said."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def thread(self, tokens: int = ENDLESS, **deadlines: int) -> str:
        return self._of("slow", "thread", tokens, deadlines)

    def process(self, **deadlines: int) -> str:
        return self._of("apart", "process", ENDLESS, deadlines)

    def _of(self, model: str, placement: str, tokens: int, deadlines: dict[str, int]) -> str:
        return CELL.format(model=model, path=self._path, placement=placement, tokens=tokens, deadlines=deadlines)


@pytest.fixture
def cells(slow_llama: Path) -> Cells:
    return Cells(slow_llama)


def status(lab: Lab, stream: str) -> Any:
    return document(lab, stream)["status"]


def text_of(lab: Lab, stream: str) -> str:
    return str(document(lab, stream)["text"])


def wait_for_notice(notebook: NotebookPage, words: str) -> None:
    notebook.view.locator(".jp-TokenStream-notice", has_text=words).wait_for()


def press(notebook: NotebookPage, button: str) -> None:
    notebook.view.get_by_role("button", name=button).click()


def stop(notebook: NotebookPage) -> str:
    """Stop a stream that would not end by itself; it is the newest, and its whole text is returned."""
    press(notebook, "Stop")
    notebook.wait_for_state("cancelled")
    return text_of(notebook.lab, newest(notebook.lab))


def worker() -> psutil.Process:
    """The worker process that was started last by a server of this test run."""
    children = psutil.Process().children(recursive=True)
    workers = [child for child in children if "jupyter_streaminfer.workers.child" in child.cmdline()]
    return max(workers, key=lambda process: process.create_time())


class TestAConnectionThatGivesOut:
    def test_it_is_cut_again_and_again(self, notebook: NotebookPage, wire: Wire, cells: Cells) -> None:
        """A stream of 2,400 tokens was complete on a fast machine before all of the cuts."""
        draw = random.Random(1)
        left = [draw.randint(1, 20) for _ in range(CUTS)]

        def fault(page: Any, server: Any, frame: str) -> None:
            page.send(frame)
            if left:
                left[0] -= 1
                if left[0] <= 0:
                    left.pop(0)
                    cut(page, server)

        wire.on_delta = fault
        notebook.run(cells.thread(), notebook.busy_cell)
        wait_until(lambda: notebook.view.count() and notebook.text and not left, PATIENCE_S)
        whole = stop(notebook)
        assert 3 <= wire.connections <= CUTS + 1  # what is cut may have been on its way out
        assert notebook.text == whole

    @pytest.mark.parametrize("copies", [0, 2])
    def test_it_leaves_deltas_out_or_repeats_them(
        self, notebook: NotebookPage, wire: Wire, cells: Cells, copies: int
    ) -> None:
        """What does not follow its predecessor is not shown: the page reads on over another connection."""
        faults = 0

        def fault(page: Any, server: Any, frame: str) -> None:
            nonlocal faults
            wrong = wire.deltas in (3, 10, 20)
            faults += wrong
            for _ in range(copies if wrong else 1):
                page.send(frame)

        wire.on_delta = fault
        notebook.run(cells.thread(), notebook.busy_cell)
        wait_until(lambda: notebook.view.count() and notebook.text and wire.deltas > 30, PATIENCE_S)
        whole = stop(notebook)
        assert faults == 3
        assert 2 <= wire.connections <= faults + 1  # more than one may be on a connection
        assert notebook.text == whole

    def test_the_server_is_away_for_several_attempts(self, notebook: NotebookPage, wire: Wire, cells: Cells) -> None:
        notebook.run(cells.thread(), notebook.busy_cell)
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        wire.down = True
        notebook.view.get_by_text("Reconnecting…").wait_for()
        wait_until(lambda: notebook.text and wire.connections >= 3)
        before = notebook.text
        wait_until(lambda: notebook.text and wire.connections >= 4)
        assert notebook.text == before
        wire.down = False
        notebook.wait_for_text(longer_than=len(before))
        assert wire.connections >= 5
        whole = stop(notebook)
        assert notebook.text == whole

    def test_it_comes_back_when_the_log_no_longer_reaches_back(
        self, notebook: NotebookPage, wire: Wire, cells: Cells
    ) -> None:
        """A snapshot takes the place of what the server no longer keeps event by event, and of what was shown."""
        notebook.run(cells.thread(), notebook.busy_cell)
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        wire.down = True
        notebook.view.get_by_text("Reconnecting…").wait_for()
        stream = newest(notebook.lab)
        head = status(notebook.lab, stream)["head"]
        wait_until(lambda: notebook.text and status(notebook.lab, stream)["floor"] > head, PATIENCE_S)
        before = notebook.text
        wire.down = False
        notebook.wait_for_text(longer_than=len(before))
        assert wire.sent[-1]["type"] == "attach"
        assert 0 <= wire.sent[-1]["after"] < head
        whole = stop(notebook)
        assert notebook.text == whole
        figures = notebook.view.locator(".jp-TokenStream-figures").inner_text()
        assert figures.startswith(f"{status(notebook.lab, stream)['tokens']} tokens")


class TestTimeThatIsOver:
    def test_a_page_that_is_reloaded_shows_what_was_continued_as_a_whole(
        self, notebook: NotebookPage, cells: Cells, wire: Wire
    ) -> None:
        notebook.run(cells.thread(total_ms=800))
        notebook.wait_for_state("incomplete")
        first = newest(notebook.lab)
        press(notebook, "Continue")
        notebook.wait_for_text(longer_than=len(text_of(notebook.lab, first)))
        second = newest(notebook.lab)
        assert second != first
        notebook.save()
        notebook.reload()
        notebook.wait_for_state("incomplete")
        wait_until(lambda: notebook.text == text_of(notebook.lab, first) + text_of(notebook.lab, second))

    def test_what_the_server_no_longer_has_keeps_its_text_and_offers_to_begin_again(
        self, notebook: NotebookPage, wire: Wire
    ) -> None:
        shown = {MIME: {"text": "what was", "state": "incomplete", "error": None}}
        about = {MIME: {"stream": "st_gone", "epoch": "e", "request": {"model": "gone", "prompt": "p"}}}
        notebook.run(f"from IPython.display import display\ndisplay({shown!r}, metadata={about!r}, raw=True)")
        notebook.wait_for_state("incomplete")
        press(notebook, "Continue")
        notebook.wait_for_state("failed")
        notebook.view.get_by_text("There is no stream").wait_for()
        assert [message["type"] for message in wire.sent] == ["continue"]
        assert notebook.text == "what was"
        assert notebook.view.get_by_role("button", name="Retry").is_visible()


class TestAWorkerThatGivesOut:
    def test_its_stream_goes_on(self, notebook: NotebookPage, wire: Wire, cells: Cells, pictures: Path) -> None:
        notebook.run(cells.process(), notebook.busy_cell)
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        worker().kill()
        wait_for_notice(notebook, "its worker was lost or late; continuing")
        notebook.page.screenshot(path=pictures / "retrying.png")
        before = len(text_of(notebook.lab, newest(notebook.lab)))
        wait_until(lambda: len(notebook.text) > before, PATIENCE_S)
        whole = stop(notebook)
        assert notebook.text == whole
        assert wire.connections == 1

    def test_a_stream_that_failed_half_way_is_continued(
        self, notebook: NotebookPage, wire: Wire, cells: Cells, pictures: Path
    ) -> None:
        """A worker that hangs: no token comes in time. Later it is there again, or another one in its place."""
        notebook.run(cells.process(inactivity_ms=2000), notebook.busy_cell)
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        hung = worker()
        hung.suspend()
        notebook.wait_for_state("failed")
        notebook.view.get_by_text("The next token did not come in time").wait_for()
        first = newest(notebook.lab)
        wait_until(lambda: notebook.text == text_of(notebook.lab, first))
        notebook.page.screenshot(path=pictures / "failed-resumable.png")
        hung.resume()
        press(notebook, "Continue")
        begun = text_of(notebook.lab, first)
        notebook.wait_for_text(longer_than=len(begun))
        whole = begun + stop(notebook)
        assert newest(notebook.lab) != first
        assert notebook.text == whole
        # The page is told of the error no longer.
        assert not notebook.view.get_by_text("The next token did not come in time").is_visible()


class TestAPageThatFallsBehind:
    def test_it_is_told_and_waited_for(self, notebook: NotebookPage, wire: Wire, cells: Cells, pictures: Path) -> None:
        """What the page has not dealt with holds the model up, once nobody else reads the stream.

        A stream of 1,900 tokens was complete on a fast machine before its kernel was gone, and waited for nobody.
        """
        wire.holds_acks = True
        notebook.run(cells.thread())
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        wait_for_notice(notebook, "this page is behind")  # while the kernel reads, nobody is waited for
        notebook.start("kernelmenu:shutdown")
        wait_for_notice(notebook, "waiting for this page")
        stream = newest(notebook.lab)
        assert status(notebook.lab, stream)["paused"]
        assert status(notebook.lab, stream)["state"] == "open"
        for theme in (DARK, LIGHT):
            notebook.command("apputils:change-theme", theme=theme)
            notebook.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
            notebook.page.locator("#jupyterlab-splash").wait_for(state="detached")
            notebook.page.screenshot(path=pictures / f"paused-{theme.split()[-1].lower()}.png")
        assert status(notebook.lab, stream)["paused"]
        wire.release_acks()
        notebook.view.locator(".jp-TokenStream-notice").wait_for(state="hidden")
        whole = stop(notebook)
        assert notebook.text == whole

    @pytest.fixture
    def cover(self, notebook: NotebookPage) -> Iterator[Callable[[], None]]:
        """Hides the page, until the end of the test."""
        covered = False

        def cover() -> None:
            nonlocal covered
            covered = True
            notebook.page.evaluate(COVER)

        yield cover
        if covered:
            notebook.page.evaluate(UNCOVER)

    def test_a_hidden_page_is_not_waited_for(
        self, notebook: NotebookPage, wire: Wire, cells: Cells, cover: Callable[[], None]
    ) -> None:
        """No animation frame comes there, so nothing is drawn; but it takes what comes, and shows it all afterwards."""
        notebook.run(cells.thread())
        notebook.wait_for_state("streaming")
        notebook.wait_for_text()
        cover()
        drawn = notebook.text
        stream = newest(notebook.lab)
        notebook.start("kernelmenu:shutdown")
        behind = status(notebook.lab, stream)["tokens"] + 2 * NARROW["StreaminferApp.window_tokens"]
        wait_until(lambda: notebook.text == drawn and status(notebook.lab, stream)["tokens"] > behind, PATIENCE_S)
        notebook.lab.ask(f"streaminfer/api/streams/{stream}", "DELETE")
        whole = text_of(notebook.lab, stream)
        assert drawn != whole

        def uncovered() -> bool:
            """Whether all is drawn, once what the page has is: its last events may come after the stream ended."""
            notebook.page.evaluate("window.covered.splice(0).forEach(draw => draw(performance.now()))")
            return notebook.text == whole

        wait_until(uncovered)


class TestAServerThatIsBusy:
    def test_a_retry_is_sent_again_by_itself(
        self, notebook: NotebookPage, wire: Wire, cells: Cells, pictures: Path
    ) -> None:
        """The limit on a client's requests: the page waits as long as the server says, and says so."""
        notebook.run(cells.thread(tokens=40))
        notebook.wait_for_state("completed")
        text = notebook.text
        waiting = notebook.view.locator(".jp-TokenStream-notice", has_text="the server is busy; trying again in")
        for _ in range(10):
            press(notebook, "Retry")
            notebook.page.locator(".jp-TokenStream[data-state=completed]").or_(waiting).first.wait_for()
            if waiting.is_visible():
                break
        notebook.page.screenshot(path=pictures / "busy.png")
        notebook.wait_for_state("completed")
        assert notebook.text == text
        assert not waiting.is_visible()
