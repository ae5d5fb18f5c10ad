"""A stream as a cell's output in JupyterLab: read from the server, whatever the kernel does."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, wait_until
from notebook_page import NotebookPage

TOKENS = 1200
"""Some seconds on a fast machine: longer than a reload of the page takes."""
LONGER = 800
"""Longer than a deadline that even a slow machine brings something within."""
ENDLESS = 30_000
"""Minutes, as each token takes longer than the one before: for what must still run when the test is done with it."""
STREAM = """
import jupyter_streaminfer as si
client = si.connect()
client.load("slow", {path!r})
stream = client.generate("slow", "The quick brown fox", max_tokens={tokens}, ignore_eos=True, seed=1)
stream
"""
SHOWN = """
from IPython.display import display
from jupyter_streaminfer.widgets.bundle import stream_bundle
from jupyter_streaminfer.widgets.snapshot import Snapshot

def show(**options):
    data, metadata = stream_bundle(Snapshot.of(stream))
    display(data, metadata=metadata, raw=True, display_id="mine", **options)

show()
"""
"""Shows the same stream as an output that the kernel brings up to date when a cell says so."""
TOLD = "stream.wait()\nshow(update=True)\nprint('told', Snapshot.of(stream).state)"
STOPPED = "\n\n[stopped]"
MIME = "application/vnd.jupyter-streaminfer.stream.v1+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def stream_cell(slow_llama: Path) -> str:
    """Code that shows a stream of some seconds."""
    return STREAM.format(path=str(slow_llama), tokens=TOKENS)


@pytest.fixture
def endless_cell(slow_llama: Path) -> str:
    """The same, that is to be stopped: on a busy machine the page once came to it when it was complete."""
    return STREAM.format(path=str(slow_llama), tokens=ENDLESS)


def newest(lab: Lab) -> str:
    """The id of the stream that was started last."""
    return str(min(lab.ask("streaminfer/api/streams")["streams"], key=lambda status: status["age_ms"])["stream"])


def document(lab: Lab, stream: str) -> Any:
    return lab.ask(f"streaminfer/api/streams/{stream}")


def output(saved: Any) -> Any:
    """The stream in the first cell's outputs, beside which there may be the progress of a load that took a moment."""
    (only,) = [each for each in saved.cells[0].outputs if MIME in each.get("data", {})]
    return only


def holds(only: Any, text: str, end: str = "") -> bool:
    """Whether an output holds the whole text, for every viewer; ``end`` is what is said of how it ended."""
    return (
        only.data["text/plain"] == text + end
        and html.escape(text) in only.data["text/html"]
        and only.data[MIME]["text"] == text
        and WIDGET_MIME not in only.data
    )


def test_tokens_appear_while_a_later_cell_keeps_the_kernel_busy(notebook: NotebookPage, stream_cell: str) -> None:
    """And the kernel leaves the final text in the output, whatever its main thread does."""
    notebook.run(stream_cell, notebook.busy_cell)
    notebook.wait_for_state("streaming")
    before = notebook.wait_for_text()
    assert notebook.wait_for_text(longer_than=before) > before
    assert notebook.busy
    notebook.wait_for_state("completed")
    assert notebook.busy
    text = document(notebook.lab, newest(notebook.lab))["text"]
    assert notebook.text == text
    wait_until(lambda: holds(output(notebook.save()), text))
    assert notebook.busy


def test_stop_ends_the_stream_within_a_second_while_the_kernel_is_busy(
    notebook: NotebookPage, endless_cell: str
) -> None:
    notebook.run(endless_cell, notebook.busy_cell)
    notebook.wait_for_state("streaming")
    notebook.wait_for_text()
    stream = newest(notebook.lab)
    pressed = time.monotonic()
    notebook.view.get_by_role("button", name="Stop").click()
    wait_until(lambda: document(notebook.lab, stream)["status"]["state"] == "cancelled", 1.0)
    assert time.monotonic() - pressed < 1.0
    notebook.wait_for_state("cancelled")
    kept = document(notebook.lab, stream)
    assert kept["events"][-1]["reason"] == "client"
    assert notebook.text == kept["text"]
    assert notebook.busy


def test_a_page_reloaded_in_mid_stream_shows_the_whole_text(notebook: NotebookPage, endless_cell: str) -> None:
    notebook.run(endless_cell, notebook.busy_cell)
    notebook.wait_for_state("streaming")
    notebook.wait_for_text()
    notebook.save()
    stream = newest(notebook.lab)
    notebook.reload()
    notebook.wait_for_state("streaming")
    before = len(document(notebook.lab, stream)["text"])
    assert notebook.wait_for_text(longer_than=before) > before
    notebook.lab.ask(f"streaminfer/api/streams/{stream}", "DELETE")
    notebook.wait_for_state("cancelled")
    text = document(notebook.lab, stream)["text"]
    assert notebook.text == text
    # The reloaded page no longer gets what the kernel says of this output: it must keep the text by itself.
    wait_until(lambda: holds(output(notebook.save()), text, STOPPED))


def test_a_stream_outlives_its_kernel(notebook: NotebookPage, endless_cell: str) -> None:
    notebook.run(endless_cell)
    notebook.wait_for_state("streaming")
    notebook.wait_for_text()
    stream = newest(notebook.lab)
    notebook.command("kernelmenu:shutdown")
    wait_until(lambda: not notebook.lab.ask("api/kernels"))
    before = len(document(notebook.lab, stream)["text"])
    assert notebook.wait_for_text(longer_than=before) > before
    notebook.lab.ask(f"streaminfer/api/streams/{stream}", "DELETE")
    notebook.wait_for_state("cancelled")
    kept = document(notebook.lab, stream)
    assert notebook.text == kept["text"]
    wait_until(lambda: holds(output(notebook.save()), kept["text"], STOPPED))


def test_retry_starts_the_same_request_again_without_the_kernel(notebook: NotebookPage, endless_cell: str) -> None:
    notebook.run(endless_cell, notebook.busy_cell)
    notebook.wait_for_state("streaming")
    notebook.wait_for_text()
    first = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Stop").click()
    notebook.wait_for_state("cancelled")
    text = document(notebook.lab, first)["text"]
    notebook.view.get_by_role("button", name="Retry").click()
    wait_until(lambda: newest(notebook.lab) != first)
    second = newest(notebook.lab)
    wait_until(lambda: len(document(notebook.lab, second)["text"]) > len(text), 60)
    notebook.view.get_by_role("button", name="Stop").click()
    notebook.wait_for_state("cancelled")
    again = document(notebook.lab, second)["text"]
    assert again.startswith(text)
    wait_until(lambda: notebook.text == again)
    wait_until(lambda: output(notebook.save()).metadata[MIME]["stream"] == second)
    wait_until(lambda: output(notebook.save()).data[MIME]["text"] == again)


def test_what_the_kernel_says_late_does_not_take_the_place_of_a_retry(
    notebook: NotebookPage, endless_cell: str
) -> None:
    """A kernel told how the stopped stream had ended after Retry was pressed.

    The page then showed the stopped one, and left the new one running with nobody to stop it.
    """
    notebook.run(endless_cell.removesuffix("stream\n") + SHOWN, notebook.busy_cell, TOLD)
    notebook.wait_for_state("streaming")
    notebook.wait_for_text()
    first = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Stop").click()
    notebook.wait_for_state("cancelled")
    notebook.view.get_by_role("button", name="Retry").click()
    wait_until(lambda: newest(notebook.lab) != first)
    second = newest(notebook.lab)
    notebook.wait_for_state("streaming")
    notebook.release()
    notebook.page.get_by_text("told cancelled", exact=True).wait_for()
    before = len(document(notebook.lab, second)["text"])
    notebook.wait_for_text(longer_than=before)
    notebook.view.get_by_role("button", name="Stop").click()
    notebook.wait_for_state("cancelled")
    kept = document(notebook.lab, second)
    assert kept["status"]["state"] == "cancelled"
    assert notebook.text == kept["text"]
    wait_until(lambda: holds(output(notebook.save()), kept["text"], STOPPED))
    assert output(notebook.save()).metadata[MIME]["stream"] == second


def test_what_its_deadline_ended_is_continued_to_its_exact_end(
    notebook: NotebookPage, slow_llama: Path, pictures: Path
) -> None:
    """Each part has the deadline of the whole; together they are what one stream would have brought."""
    cell = STREAM.format(path=str(slow_llama), tokens=LONGER)
    notebook.run(cell, cell.replace("seed=1)", 'seed=1, deadlines={"total_ms": 700})'), notebook.busy_cell)
    whole, part = notebook.view.nth(0), notebook.view.nth(1)
    part.and_(notebook.page.locator("[data-state=incomplete]")).wait_for()
    whole.and_(notebook.page.locator("[data-state=completed]")).wait_for()
    reference = whole.locator(".jp-TokenStream-text").text_content()
    text = part.locator(".jp-TokenStream-text")
    assert reference
    so_far = text.text_content() or ""
    assert 0 < len(so_far) < len(reference)
    assert reference.startswith(so_far)
    assert part.get_by_text("Stopped at its deadline").is_visible()
    assert part.get_by_role("button", name="Retry").count() == 0
    part.scroll_into_view_if_needed()
    notebook.page.screenshot(path=pictures / "incomplete.png")
    continued = 0
    while part.get_attribute("data-state") == "incomplete":
        continued += 1
        last = newest(notebook.lab)
        part.get_by_role("button", name="Continue").click()
        wait_until(lambda last=last: newest(notebook.lab) != last)
        part.and_(notebook.page.locator("[data-state=incomplete], [data-state=completed]")).wait_for()
        so_far = text.text_content() or ""
        assert reference.startswith(so_far)
    assert continued
    assert so_far == reference
    assert part.locator(".jp-TokenStream-figures").inner_text().startswith(f"{LONGER} tokens")
    wait_until(lambda: holds(notebook.save().cells[1].outputs[0], reference))


def test_model_output_is_never_markup(notebook: NotebookPage) -> None:
    """Model output is hostile text on the Jupyter origin: a script in a saved stream must stay text."""
    hostile = '<img src=x onerror="window.hostile = true"><script>window.hostile = true</script>'
    shown = {"text/plain": hostile, MIME: {"text": hostile, "state": "completed", "error": None}}
    notebook.run(f"from IPython.display import display\ndisplay({shown!r}, raw=True)")
    notebook.wait_for_state("completed")
    wait_until(lambda: notebook.text == hostile)
    assert notebook.view.locator("img, script").count() == 0
    assert notebook.page.evaluate("window.hostile") is None


def test_a_stream_that_the_server_no_longer_has_shows_the_saved_text(notebook: NotebookPage) -> None:
    shown = {"text/plain": "what was", MIME: {"text": "what was", "state": "streaming", "error": None}}
    about = {MIME: {"stream": "st_gone", "epoch": "e", "request": None, "figures": None}}
    notebook.run(f"from IPython.display import display\ndisplay({shown!r}, metadata={about!r}, raw=True)")
    notebook.wait_for_state("disconnected")
    assert notebook.text == "what was"
    notebook.view.get_by_text("The server no longer has this stream").wait_for()
    assert notebook.view.get_by_role("button", name="Stop").count() == 0
