"""A page with a widget's script and nothing else: no JupyterLab, no server, as VS Code or Colab show widgets.

What stands for the kernel is the model that anywidget gives a script: traits, and messages both ways.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

STATIC = Path(__file__).parents[2] / "jupyter_streaminfer" / "widgets" / "static"
MODEL = """
const listeners = [];
const tell = (event, ...what) => listeners.filter(each => each.event === event).forEach(each => each.callback(...what));
const toBase64 = buffer => {
  const bytes = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
};
const fromBase64 = text => new DataView(Uint8Array.from(atob(text), character => character.charCodeAt(0)).buffer);
const withBuffers = (state, paths, buffers) => {
  paths.forEach((path, place) => {
    const holder = path.slice(0, -1).reduce((part, key) => part[key], state);
    holder[path[path.length - 1]] = fromBase64(buffers[place]);
  });
  return state;
};
const traits = withBuffers(...GIVEN);
const changed = changes => {
  Object.assign(traits, changes);
  Object.keys(changes).forEach(name => tell(`change:${name}`));
  tell('change');
};
let unsaved = {};
window.sent = [];
const model = {
  get: name => traits[name],
  set: (changes, value) => {
    changes = typeof changes === 'string' ? { [changes]: value } : changes;
    Object.assign(unsaved, changes);
    changed(changes);
  },
  save_changes: () => { window.toKernel?.(JSON.stringify({ traits: unsaved })); unsaved = {}; },
  send: (content, callbacks, buffers = []) => {
    window.sent.push(content);
    window.toKernel?.(JSON.stringify({ message: content, buffers: buffers.map(toBase64) }));
  },
  on: (event, callback) => { event.split(' ').forEach(each => listeners.push({ event: each, callback })); },
  off: (event, callback) => {
    for (let index = listeners.length - 1; index >= 0; index--) {
      if (listeners[index].event === event && (!callback || listeners[index].callback === callback)) {
        listeners.splice(index, 1);
      }
    }
  }
};
window.traits = traits;
window.update = (changes, paths = [], buffers = []) => changed(withBuffers(changes, paths, buffers));
window.tell = (content, buffers = []) => tell('msg:custom', content, buffers.map(fromBase64));
window.listening = () => listeners.length;
window.leave = widget.render({ model, el: document.getElementById('widget') });
window.drawn = true;
"""


class BarePage:
    """Draws one widget."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def show(
        self,
        name: str,
        traits: dict[str, Any],
        to_kernel: Callable[[str], object] | None = None,
        *,
        buffers: Sequence[tuple[list[Any], str]] = (),
        config: dict[str, str] | None = None,
    ) -> Page:
        """Draw the widget ``name`` with its traits in an empty page.

        ``to_kernel`` gets each message (``{"message": …, "buffers": …}``) and each change of traits (``{"traits": …}``)
        as JSON. ``buffers``: where in the traits bytes belong, with the bytes in base64.
        ``config``: what a Jupyter server tells its pages of itself; None: the page is none of a server's.
        """
        script = STATIC / f"{name}.js"
        if not script.exists():
            pytest.skip("the UI tests need the package's scripts: jlpm build")
        page = self.page
        page.set_content('<html lang="en"><title>A page</title><body><main id="widget"></main></body></html>')
        if config is not None:
            about = {"id": "jupyter-config-data", "type": "application/json", "textContent": json.dumps(config)}
            append = "about => document.head.append(Object.assign(document.createElement('script'), about))"
            page.evaluate(append, about)
        if (STATIC / f"{name}.css").exists():
            page.add_style_tag(path=STATIC / f"{name}.css")
        if to_kernel is not None:
            page.expose_function("toKernel", to_kernel)
        source = json.dumps("data:text/javascript;charset=utf-8," + quote(script.read_text()))
        code = f"const {{ default: widget }} = await import({source});\n" + MODEL
        given = [traits, [path for path, _ in buffers], [data for _, data in buffers]]
        code = code.replace("GIVEN", json.dumps(given))
        page.add_script_tag(type="module", content=code)
        page.wait_for_function("() => window.drawn")
        return page

    def update(self, **traits: Any) -> None:
        """Have the kernel change traits."""
        self.page.evaluate("changes => window.update(changes)", traits)

    def tell(self, content: Any) -> None:
        """Have the kernel send a message."""
        self.page.evaluate("content => window.tell(content)", content)

    @property
    def sent(self) -> list[Any]:
        """The messages that the kernel was sent."""
        sent: list[Any] = self.page.evaluate("window.sent")
        return sent
