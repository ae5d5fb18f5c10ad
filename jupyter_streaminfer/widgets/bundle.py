"""What a cell's output holds of a stream: one bundle for viewers with our JupyterLab extension and without.

What differs from run to run (ids, times) is metadata; the data is the text and how it ended, so that a
notebook's outputs can be compared.
"""

from __future__ import annotations

import html
from typing import Any

from jupyter_streaminfer.widgets.snapshot import Snapshot

STREAM_MIME = "application/vnd.jupyter-streaminfer.stream.v1+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def text_bundle(snapshot: Snapshot) -> dict[str, Any]:
    """``text/plain`` and ``text/html``: the text, and how it ended where that was not in order."""
    ending = _ending(snapshot)
    page = f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{html.escape(snapshot.text)}</pre>'
    return {
        "text/plain": f"{snapshot.text}\n\n{ending}" if ending else snapshot.text,
        "text/html": f"{page}<p><em>{html.escape(ending)}</em></p>" if ending else page,
    }


def stream_bundle(snapshot: Snapshot) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and metadata that our JupyterLab extension shows live, reading the stream from the page's server."""
    fields = snapshot.as_json()
    data = text_bundle(snapshot) | {STREAM_MIME: {name: fields[name] for name in ("text", "state", "error")}}
    about = ("stream", "epoch", "request", "begun", "figures", "resumable", "tokens")
    metadata = {STREAM_MIME: {name: fields[name] for name in about}}
    return data, metadata


def _ending(snapshot: Snapshot) -> str:
    if snapshot.error is not None:
        return f"[{snapshot.state}: {snapshot.error.message}]"
    endings = {"streaming": "[streaming…]", "cancelled": "[stopped]", "incomplete": "[incomplete: its time was over]"}
    return endings.get(snapshot.state, "")
