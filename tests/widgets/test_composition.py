"""Each widget as a part of others: in boxes and tabs, its traits linked to those of plain ipywidgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import ipywidgets
import numpy as np
import pytest
import traitlets

from jupyter_streaminfer import widgets
from jupyter_streaminfer.client import Client

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def chatty(client: Client, long_llama: Path, tmp_path: Path) -> Client:
    folder = copytree(long_llama, tmp_path / "chatty")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    client.load("chatty", folder)
    client.load("digits")
    return client


def test_every_widget_fits_into_boxes_and_tabs(chatty: Client) -> None:
    client = chatty
    stream = client.generate("tiny", "The", max_tokens=8, ignore_eos=True).wait()
    made: dict[str, Callable[[], Any]] = {
        "TokenStream": lambda: widgets.TokenStream(stream),
        "Chat": lambda: widgets.Chat(client, "chatty"),
        "Compare": lambda: widgets.Compare(client, "The", ["tiny"], max_tokens=2),
        "Dashboard": lambda: widgets.Dashboard(client),
        "Timeline": lambda: widgets.Timeline([stream]),
        "Review": lambda: widgets.Review(client, "digits", np.zeros((2, 64))),
        "Progress": lambda: widgets.Progress(2, show=False),
    }
    assert set(made) == set(widgets.__all__) - {"display_stream"}
    children = [make() for make in made.values()]
    for container in (ipywidgets.VBox, ipywidgets.HBox, ipywidgets.Tab, ipywidgets.Accordion, ipywidgets.GridBox):
        box = container(children)
        assert box.get_state("children")["children"] == [f"IPY_MODEL_{child.model_id}" for child in children]
    for child in children:
        assert isinstance(child, ipywidgets.DOMWidget)
        child.layout.width = "50%"
        assert child.get_state("layout")["layout"] == f"IPY_MODEL_{child.layout.model_id}"
        child.close()


def test_traits_are_linked_both_ways(client: Client) -> None:
    progress = widgets.Progress(4, show=False)
    bar, title = ipywidgets.FloatProgress(max=1.0), ipywidgets.Text()
    traitlets.dlink((progress, "share"), (bar, "value"))
    traitlets.link((progress, "title"), (title, "value"))
    title.value = "Mine"
    for _ in progress:
        pass
    assert bar.value == 1.0
    assert progress.title == "Mine"
    stream = widgets.TokenStream(client.generate("tiny", "The", max_tokens=8, ignore_eos=True).wait())
    area = ipywidgets.Textarea()
    traitlets.dlink((stream, "text"), (area, "value"))
    assert area.value == stream.text
