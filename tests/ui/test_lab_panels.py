"""JupyterLab's sidebar, dashboard, playground and status bar, on one page, in the order in which people meet them."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from accessibility import violations
from lab import Lab, wait_until
from tiny_models import ENDLESS, build_llama

from jupyter_streaminfer.protocol import Generate

if TYPE_CHECKING:
    from lab_page import LabPage
    from playwright.sync_api import Browser, Locator

STREAMS = 100
NARROW = """
document.documentElement.style.setProperty('--jp-sidebar-min-width', '200px');
const fit = widget => { widget.fit(); for (const child of widget.children()) { fit(child); } };
fit(window.jupyterapp.shell);
"""
HOSTILE = (
    "\"\"\"'''\\\\N{DASH} \\x41 {x} %s\n\x00\x1b[31m\u202eevil\u2066 \u2028 </script> caf\u00e9 \U0001f600 "
    '"); import os #'
)


@pytest.fixture(scope="module")
def desk(browser: Browser, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPage]:
    """A page on a server that has nothing loaded."""
    from lab_page import LabPage

    for name in {status["name"] for status in lab.ask("streaminfer/api/models")["models"]}:
        lab.ask(f"streaminfer/api/models/{name}", "DELETE")
    context = browser.new_context(viewport={"width": 1300, "height": 850})
    context.set_default_timeout(60_000)
    pictures = Path(os.environ.get("STREAMINFER_SCREENSHOTS", tmp_path_factory.mktemp("pictures")))
    page = context.new_page()
    desk = LabPage(lab, page, pictures)
    desk.open()
    yield desk
    context.close()
    lab.ask("lab/api/settings/jupyter-streaminfer:plugin", "PUT", {"raw": "{}"})
    for session in lab.ask("api/sessions"):
        lab.ask(f"api/sessions/{session['id']}", "DELETE")
    for name in {status["name"] for status in lab.ask("streaminfer/api/models")["models"]}:
        lab.ask(f"streaminfer/api/models/{name}", "DELETE")


@pytest.fixture(scope="module")
def endless(long_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a token that ends its answers: the playground has no way to go on past one."""
    folder = Path(shutil.copytree(long_llama, tmp_path_factory.mktemp("models") / "endless"))
    for name in ("config.json", "generation_config.json"):
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**config, "eos_token_id": []}))
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose weights are cut off."""
    folder = build_llama(tmp_path_factory.mktemp("models") / "broken")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    return folder


def press(desk: LabPage, *keys: str) -> None:
    for key in keys:
        desk.page.keyboard.press(key)


def load(name: str, path: Path) -> dict[str, str]:
    """The request for a model in the server's own process, which takes no time."""
    return {"name": name, "path": str(path), "placement": "thread"}


def versions(desk: LabPage, name: str) -> dict[str, Any]:
    """What the server says of a model, by version."""
    models = desk.lab.ask("streaminfer/api/models")["models"]
    return {status["version"]: status for status in models if status["name"] == name}


class TestTheSidebar:
    def test_a_server_without_models_says_what_to_do(self, desk: LabPage) -> None:
        desk.command("streaminfer:show-sidebar")
        desk.sidebar.get_by_text("No model is loaded.").wait_for()
        desk.sidebar.get_by_text("None.").wait_for()
        desk.picture("sidebar-empty")
        assert violations(desk.page, "#jp-streaminfer-sidebar") == []

    def test_a_model_is_loaded_by_a_form_that_says_what_is_wrong(self, desk: LabPage, endless: Path) -> None:
        desk.sidebar.get_by_role("button", name="Load…").click()
        load = desk.dialog.get_by_role("button", name="Load", exact=True)
        desk.dialog.get_by_label("Name").fill("../up")
        desk.page.wait_for_function("document.querySelector('.jp-Dialog .jp-mod-accept').disabled")
        desk.dialog.get_by_label("Name").fill("long")
        desk.dialog.get_by_label("Path").fill(str(endless / "nothing"))
        desk.dialog.get_by_label("Computed in").select_option("thread")
        load.click()
        problem = desk.dialog.get_by_role("alert").filter(has_text="nothing")
        problem.wait_for()
        desk.picture("load-refused")
        assert violations(desk.page, ".jp-StreaminferForm") == []
        assert desk.dialog.get_by_label("Path").get_attribute("aria-invalid") == "true"
        desk.dialog.get_by_label("Path").fill(str(endless))
        press(desk, "Enter")
        desk.model("long")
        assert versions(desk, "long")["1"]["placement"] == "thread"

    def test_a_load_that_fails_is_shown_where_it_belongs_and_told_of(self, desk: LabPage, broken: Path) -> None:
        desk.lab.ask("streaminfer/api/models?wait=false", "POST", load("broken", broken))
        failed = desk.model("broken", state="failed")
        error = versions(desk, "broken")["1"]["error"]["message"]
        assert failed.get_by_role("alert").inner_text() == error
        desk.page.locator(".Toastify").get_by_text("Loading broken@1 failed").wait_for()
        desk.picture("sidebar-failed")
        assert violations(desk.page, "#jp-streaminfer-sidebar") == []
        failed.get_by_role("button", name="Remove").click()
        failed.wait_for(state="detached")
        assert versions(desk, "broken") == {}

    def test_swap_and_roll_back(self, desk: LabPage) -> None:
        desk.model("long").get_by_role("button", name="Swap…").click()
        desk.dialog.get_by_label("Version").fill("autumn")
        desk.dialog.get_by_role("button", name="Swap").click()
        latest = desk.model("long", "autumn")
        assert versions(desk, "long")["autumn"]["latest"]
        latest.get_by_role("button", name="Roll back").click()
        wait_until(lambda: versions(desk, "long")["1"]["latest"])
        desk.model("long")

    def test_a_refusal_is_shown_at_its_model(self, desk: LabPage) -> None:
        """Nothing came before version 1."""
        desk.command("streaminfer:roll-back-model", name="long")
        desk.model("long").get_by_role("alert").wait_for()
        desk.model("long").get_by_role("button", name="Dismiss").click()
        desk.model("long").get_by_role("alert").wait_for(state="hidden")

    def test_the_context_menu_opens_from_the_keyboard(self, desk: LabPage) -> None:
        desk.model("long").focus()
        press(desk, "Enter")
        menu = desk.page.locator(".lm-Menu")
        menu.get_by_text("Swap…").wait_for()
        press(desk, "Escape")
        menu.wait_for(state="detached")
        desk.model("long").focus()
        press(desk, "Delete")
        desk.dialog.get_by_text("Unload long").wait_for()
        press(desk, "Escape")
        desk.dialog.wait_for(state="detached")


@pytest.fixture(scope="class")
def hundred(lab: Lab) -> Iterator[None]:
    """Streams that do not end by themselves."""
    with lab.client() as client:
        for index in range(STREAMS):
            client.generate("long@1", f"The {index}", max_tokens=ENDLESS, ignore_eos=True, detached=True)
        yield
        for status in client.streams():
            if status.state == "open":
                client.cancel(status.stream)


@pytest.mark.usefixtures("hundred")
class TestAHundredStreams:
    def test_they_are_counted_and_the_newest_listed(self, desk: LabPage) -> None:
        desk.sidebar.get_by_role("heading", name=f"Active streams {STREAMS}").wait_for()
        desk.sidebar.get_by_text("and 50 more").wait_for()
        assert desk.streams.count() == 50
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            desk.theme(theme)
            desk.picture(f"hundred-streams-{theme.split()[-1].lower()}")
            assert violations(desk.page, "#jp-streaminfer-sidebar") == []

    def test_the_status_bar_sums_them_up(self, desk: LabPage) -> None:
        desk.status.get_by_text(f"{STREAMS} streams").wait_for()
        desk.status.get_by_text("tokens/s").wait_for()
        assert f"Streams open: {STREAMS}" in (desk.status.get_attribute("title") or "")
        assert violations(desk.page, ".jp-StreaminferStatus") == []

    def test_one_is_stopped_by_the_keyboard_and_the_focus_stays_in_the_list(self, desk: LabPage) -> None:
        desk.streams.first.focus()
        press(desk, "ArrowDown", "ArrowDown")
        stream = desk.page.evaluate("document.activeElement.dataset.stream")
        press(desk, "Delete")
        desk.sidebar.locator(f"[data-stream={stream}]").wait_for(state="detached")
        assert desk.lab.ask(f"streaminfer/api/streams/{stream}")["status"]["state"] == "cancelled"
        assert desk.page.evaluate("document.activeElement.classList.contains('jp-StreaminferStream')")

    def test_a_narrow_sidebar_cuts_nothing_off(self, desk: LabPage) -> None:
        # JupyterLab's own sidebar is 250 px wide at least, unless a theme says otherwise.
        desk.page.evaluate(NARROW)
        handle = desk.page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:not(.lm-mod-hidden)").first
        box = handle.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        desk.page.mouse.move(box["x"] + box["width"] / 2, y)
        desk.page.mouse.down()
        desk.page.mouse.move(236, y, steps=4)
        desk.page.mouse.up()
        wide = desk.sidebar.bounding_box()
        assert wide is not None
        assert wide["width"] <= 205
        desk.picture("sidebar-narrow")
        overflowing = desk.sidebar.evaluate(
            "node => [...node.querySelectorAll('*')].filter(each => each.scrollWidth > each.clientWidth + 1 "
            "&& each.clientWidth > 0 && getComputedStyle(each).display !== 'inline').map(each => each.className)"
        )
        assert overflowing == []

    def test_nothing_is_asked_for_at_rest_and_there_is_one_connection(self, desk: LabPage) -> None:
        """An open panel does not keep a server alive: all it takes is the samples of one socket."""
        asked: list[str] = []
        desk.page.on("request", lambda request: asked.append(request.url))
        desk.page.evaluate("window.samples = 0")
        desk.status.evaluate(
            "node => new MutationObserver(() => { window.samples += 1; }).observe(node, { attributes: true })"
        )
        desk.page.wait_for_function("() => window.samples >= 3")
        assert [url for url in asked if "streaminfer" in url] == []
        assert desk.connections == 1

    def test_settings_work_at_once(self, desk: LabPage) -> None:
        desk.command("settingeditor:open", query="Streaming Inference")
        setting(desk, "streamsShown").fill("10")
        setting(desk, "statusBar").uncheck()
        desk.status.wait_for(state="hidden")
        desk.sidebar.get_by_text("and 89 more").wait_for()
        assert desk.streams.count() == 10
        setting(desk, "statusBar").check()
        setting(desk, "historyMinutes").select_option("10")
        desk.status.wait_for(state="visible")


def setting(desk: LabPage, name: str) -> Locator:
    return desk.page.locator(f".jp-SettingsForm [id$=_{name}]")


class TestTheDashboard:
    def test_the_status_bar_opens_it(self, desk: LabPage) -> None:
        desk.status.click()
        tabs = desk.page.locator(".jp-StreaminferDashboard .lm-TabBar-tabLabel")
        desk.page.locator(".jp-StreaminferDashboard canvas").first.wait_for()
        assert {"Latency", "Throughput", "Streams"} <= set(tabs.all_inner_texts())
        assert desk.page.locator(".jp-StreaminferDashboard").get_by_label("Time", exact=True).input_value() == "600"
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            desk.theme(theme)
            desk.picture(f"dashboard-{theme.split()[-1].lower()}")
            assert violations(desk.page, ".jp-StreaminferDashboard") == []

    def test_its_layout_is_restored_with_the_workspace_and_reset(self, desk: LabPage) -> None:
        bars = desk.page.locator(".jp-StreaminferDashboard .lm-DockPanel-tabBar")
        before = bars.count()
        drag(desk, bars.filter(has_text="Throughput").get_by_text("Throughput"), bars.filter(has_text="Latency"))
        wait_until(lambda: bars.count() == before - 1)
        wait_until(lambda: ["latency", "throughput"] in saved_tabs(desk))
        desk.open()
        desk.page.locator(".jp-StreaminferDashboard canvas").first.wait_for()
        assert bars.count() == before - 1
        desk.page.get_by_role("button", name="Reset layout").click()
        wait_until(lambda: bars.count() == before)


def saved_tabs(desk: LabPage) -> list[list[str]]:
    """The ids of the panels of each tab area, as the workspace on the disk has them."""
    found: list[list[str]] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            if value.get("type") == "tab-area" and all(isinstance(id, str) for id in value["widgets"]):
                found.append(sorted(value["widgets"]))
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(desk.lab.ask(f"lab/api/workspaces/{desk.workspace}"))
    return found


def drag(desk: LabPage, what: Locator, to: Locator) -> None:
    start, end = what.bounding_box(), to.bounding_box()
    assert start is not None
    assert end is not None
    mouse = desk.page.mouse
    mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    mouse.down()
    mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=12)
    mouse.up()


BEYOND = {"max_tokens": "0", "temperature": "101", "top_p": "0", "top_k": "-1", "seed": "1.5", "logprobs": "21"}
"""Parameters that the protocol does not take."""


def expected(name: str) -> str:
    """What is said of a parameter that is not within the bounds of the protocol."""
    if name == "seed":
        return "A whole number is needed."
    schema = msgspec.json.schema(Generate)["$defs"]["Generate"]["properties"][name]
    schema = schema.get("anyOf", [schema])[0]
    if "maximum" not in schema:
        return f"A number from {schema['minimum']} is needed."
    if "exclusiveMinimum" in schema:
        return f"A number above {schema['exclusiveMinimum']:g}, up to {schema['maximum']:g}, is needed."
    return f"A number from {schema['minimum']:.0f} to {schema['maximum']:.0f} is needed."


class TestThePlayground:
    def test_what_is_wrong_is_said_at_its_field(self, desk: LabPage) -> None:
        desk.command("streaminfer:open-playground")
        form = desk.page.locator(".jp-StreaminferPlayground-form")
        desk.page.get_by_role("checkbox", name="long", exact=True).wait_for()
        form.get_by_role("button", name="Run").click()
        form.get_by_text("Something to go on from is needed.").wait_for()
        form.get_by_label("Prompt", exact=True).last.fill("The quick brown fox")
        for name, words in BEYOND.items():
            form.locator(f"[name={name}]").fill(words)
        form.get_by_role("button", name="Run").click()
        for name in BEYOND:
            fault = form.locator(f".jp-StreaminferField:has([name={name}]) [role=alert]")
            assert fault.inner_text() == expected(name)
        desk.picture("playground-faults")
        assert violations(desk.page, ".jp-StreaminferPlayground") == []
        for name in BEYOND:
            form.locator(f"[name={name}]").fill("")

    def test_models_are_compared_and_a_run_is_had_again(self, desk: LabPage, endless: Path) -> None:
        desk.lab.ask("streaminfer/api/models", "POST", load("other", endless))
        form = desk.page.locator(".jp-StreaminferPlayground-form")
        for name in ("long", "other"):
            desk.page.get_by_role("checkbox", name=name, exact=True).check()
        form.get_by_label("Max tokens").fill("12")
        form.get_by_label("Seed").fill("7")
        press(desk, "Shift+Enter")
        results = desk.page.locator(".jp-StreaminferResult")
        desk.page.locator(".jp-TokenStream[data-state=completed]").nth(1).wait_for()
        texts = shown(desk)
        asked = [
            stream
            for stream in desk.lab.ask("streaminfer/api/streams")["streams"]
            if stream["state"] == "completed" and stream["tokens"] == 12
        ]
        assert sorted(stream["model"] for stream in asked) == ["long", "other"]
        said = {
            stream["model"]: desk.lab.ask(f"streaminfer/api/streams/{stream['stream']}")["text"] for stream in asked
        }
        assert texts == [said["long"], said["other"]]
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            desk.theme(theme)
            desk.picture(f"playground-{theme.split()[-1].lower()}")
            assert violations(desk.page, ".jp-StreaminferPlayground") == []
        form.get_by_label("Seed").fill("8")
        desk.page.get_by_role("checkbox", name="other", exact=True).uncheck()
        press(desk, "Control+Enter")
        wait_until(lambda: results.count() == 1)
        desk.page.locator(".jp-TokenStream[data-state=completed]").wait_for()
        form.locator(".jp-StreaminferHistory-run").nth(1).click()
        wait_until(lambda: shown(desk) == texts)
        assert form.get_by_label("Seed").input_value() == "7"

    def test_escape_stops(self, desk: LabPage) -> None:
        form = desk.page.locator(".jp-StreaminferPlayground-form")
        form.get_by_label("Max tokens").fill(str(ENDLESS))
        press(desk, "Shift+Enter")
        desk.page.locator(".jp-TokenStream[data-state=streaming]").nth(1).wait_for()
        form.get_by_label("Seed").focus()
        press(desk, "Escape")
        desk.page.locator(".jp-TokenStream[data-state=cancelled]").nth(1).wait_for()

    def test_a_code_cell_says_exactly_what_was_asked(self, desk: LabPage) -> None:
        lab, page = desk.lab, desk.page
        lab.write("cells.ipynb", "1")
        desk.command("docmanager:open", path="cells.ipynb")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel")
        desk.command("streaminfer:open-playground")
        form = page.locator(".jp-StreaminferPlayground-form")
        form.get_by_label("Prompt", exact=True).last.evaluate("(node, text) => { node.value = text; }", HOSTILE)
        form.get_by_label("Max tokens").fill("12")
        form.get_by_label("Temperature").fill("0.5")
        form.get_by_label("Stop before").fill("\\n\\n\nend \\\\n")
        form.get_by_role("button", name="Copy as code cell").click()
        wait_until(lambda: page.locator(".jp-Notebook .jp-CodeCell").count() == 2)
        desk.command("docmanager:save")
        call = next(
            node
            for node in ast.walk(ast.parse(wait_until(lambda: source(lab))))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "client.generate"
        )
        assert ast.literal_eval(call.args[1]) == HOSTILE
        assert {word.arg: ast.literal_eval(word.value) for word in call.keywords} == {
            "max_tokens": 12,
            "temperature": 0.5,
            "seed": 7,
            "stop": ["\n\n", "end \\n"],
        }
        assert re.search(r"[\u202a-\u202e\u2066-\u2069]", source(lab)) is None


def source(lab: Lab) -> str:
    return str(lab.read("cells.ipynb").cells[1].source)


def shown(desk: LabPage) -> list[str]:
    """The answers in the playground."""
    return [text or "" for text in desk.page.locator(".jp-StreaminferResult .jp-TokenStream-text").all_text_contents()]


class TestAServerThatGoes:
    def test_it_is_said_once_and_taken_back(self, desk: LabPage) -> None:
        desk.command("streaminfer:show-sidebar")
        desk.cut()
        desk.sidebar.get_by_text("The server does not answer. Reconnecting…").wait_for()
        desk.page.locator(".Toastify").get_by_text("cannot be reached").wait_for()
        desk.picture("disconnected")
        assert violations(desk.page, "#jp-streaminfer-sidebar") == []
        desk.mend()
        desk.sidebar.locator(".jp-StreaminferMessage").wait_for(state="hidden")
        desk.page.locator(".Toastify").get_by_text("cannot be reached").wait_for(state="detached")
        assert desk.model("long").is_visible()

    def test_alerts_are_told_of_when_they_begin_and_end(self, desk: LabPage) -> None:
        rule = {"metric": "memory_bytes", "above": 1, "name": "Much memory"}
        desk.lab.ask("streaminfer/api/alerts", "PUT", {"rules": [rule]})
        desk.sidebar.get_by_role("heading", name="Alerts 1").wait_for()
        desk.sidebar.locator(".jp-StreaminferAlert").get_by_text("above the bound").wait_for()
        desk.page.locator(".Toastify").get_by_text("Much memory: Memory is").wait_for()
        desk.picture("alert")
        assert violations(desk.page, "#jp-streaminfer-sidebar") == []
        desk.lab.ask("streaminfer/api/alerts", "PUT", {"rules": []})
        desk.page.locator(".Toastify").get_by_text("Alert over: Much memory").wait_for()
        desk.sidebar.locator(".jp-StreaminferAlert").wait_for(state="detached")
