"""Every widget in a notebook of a real JupyterLab, reading from the server, in both themes."""

from __future__ import annotations

from pathlib import Path

from lab import wait_until
from notebook_page import NotebookPage

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
CELLS = (
    "import numpy as np\nimport jupyter_streaminfer as si\nfrom jupyter_streaminfer import widgets\n"
    "client = si.connect()\nclient.load('demo'); client.load('digits')\n"
    "options = {'max_tokens': 24, 'ignore_eos': True}\n"
    "streams = [client.generate('demo', 'The asyncio module', seed=seed, **options) for seed in range(3)]\n"
    "rows = np.random.default_rng(0).uniform(0, 16, (5, 8, 8)).tolist()",
    "client.generate('demo', 'The asyncio module', max_tokens=24, seed=1, logprobs=2)",
    "chat = client.chat('demo', max_tokens=16, seed=1); chat",
    "client.compare('The asyncio module', ['demo'], temperature=[0.0, 1.0], seed=1, max_tokens=16)",
    "client.dashboard()",
    "client.timeline(streams)",
    "client.review('digits', rows)",
    "progress = widgets.Progress(epochs=2)\nfor epoch in progress:\n    progress.log(loss=1 / (epoch + 1))\nprogress",
)
VIEWS = (
    "jp-TokenStream",
    "jp-StreaminferChat",
    "jp-StreaminferCompare",
    "jp-Streaminfer-dashboard",
    "jp-StreaminferTimeline",
    "jp-StreaminferReview",
    "jp-StreaminferProgress",
)

MOVED = """() => {
  const properties = ['display', 'padding', 'margin', 'border', 'color', 'backgroundColor', 'fontWeight', 'minHeight'];
  const nodes = [...document.querySelectorAll('.jp-Streaminfer, .jp-Streaminfer *')];
  const look = () => nodes.map(node => {
    const style = getComputedStyle(node);
    return node.className + ': ' + properties.map(name => style[name]).join();
  });
  const before = look();
  return [...document.querySelectorAll('style')]
    .filter(style => style.textContent.includes('.jp-Streaminfer'))
    .flatMap(style => {
      document.head.append(style);
      return look().filter((each, index) => each !== before[index]);
    });
}"""
"""What looks otherwise once our style sheets came in another order: each widget brings a copy of what all share."""


def test_all_of_them_are_shown_and_do_what_they_are_for(notebook: NotebookPage, pictures: Path) -> None:
    page = notebook.page
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_viewport_size({"width": 1200, "height": 5000})  # a notebook draws what is in view only
    notebook.run(*CELLS)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    views = [cells.nth(index).locator(f".{name}").first for index, name in enumerate(VIEWS, 1)]
    for view in views:
        view.wait_for()
    stream, chat, compare, dashboard, timeline, review, _ = views
    wait_until(lambda: not notebook.busy, 120)
    box = chat.get_by_role("textbox", name="Message")
    box.fill("What is asyncio?")
    box.press("Enter")
    chat.locator(".jp-TokenStream[data-state=completed]").wait_for()
    stream.and_(page.locator("[data-state=completed]")).wait_for()
    assert compare.locator(".jp-TokenStream").count() == 2
    timeline.get_by_text("3 streams, 72 tokens").wait_for()
    dashboard.get_by_text("Live", exact=True).wait_for()
    review.get_by_text("predicted").wait_for()
    review.get_by_role("button", name="Confirm").press("Enter")  # what is above it may grow under a pointer
    review.get_by_text("1 of 5 judged").wait_for()
    errors = [
        output for cell in notebook.save().cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]
    assert not errors
    tops = dashboard.locator(".jp-Streaminfer-tile").evaluate_all("tiles => tiles.map(tile => tile.offsetTop)")
    assert len({*tops}) == 1, "JupyterLab lays definition lists in outputs out as columns"
    for theme in (DARK, LIGHT):
        notebook.command("apputils:change-theme", theme=theme)
        page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        for name, view in zip(VIEWS, views, strict=True):
            view.screenshot(path=pictures / f"{name}-{theme.split()[-1].lower()}.png")
    assert page.evaluate(MOVED) == []
    assert box.input_value() == "", "the draft that was sent is not brought back when the chat is drawn anew"
    assert not faults
