"""The chat on a page: asking the server by itself, and through the kernel alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from accessibility import violations
from comm_page import CommPage
from playwright.sync_api import Locator, Page
from scripted_server import CONFIG, ScriptedServer
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.widgets import Chat

HOSTILE = "<img src=x onerror=alert(1)>"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def traits(**changes: Any) -> dict[str, Any]:
    request = {"type": "generate", "id": "w", "model": f"demo {HOSTILE}", "messages": [], "max_tokens": 64}
    given = {"system": "", "turns": [], "live": None, "request": request, "server": True, "direct": False}
    return given | {"said": 0, "heard": 0} | changes


@pytest.fixture
def server(page: Page) -> ScriptedServer:
    page.emulate_media(reduced_motion="reduce")
    return ScriptedServer(page)


@pytest.fixture
def chat(server: ScriptedServer, bare_page: Any) -> Page:
    """A chat on a page of a Jupyter server."""
    drawn: Page = bare_page.show("chat", traits(), config=CONFIG)
    return drawn


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answers(page: Page) -> Locator:
    return page.locator(".jp-TokenStream")


def wait_for_state(page: Page, state: str, count: int = 1) -> None:
    page.wait_for_function(
        "([state, count]) => document.querySelectorAll(`.jp-TokenStream[data-state=${state}]`).length === count",
        arg=[state, count],
    )


def converse(page: Page, server: ScriptedServer, *turns: tuple[str, str]) -> None:
    """Say these things and have them answered."""
    for question, answer in turns:
        before = len(server.streams)
        say(page, question)
        stream = server.asked(before + 1)
        stream.bring(answer)
        stream.end()
        wait_for_state(page, "completed", page.locator(".jp-TokenStream").count())


def contents(messages: list[Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


def test_each_answer_is_asked_with_what_was_said_before(chat: Page, server: ScriptedServer) -> None:
    converse(chat, server, ("Hello", "Hi."), ("More", "**Much** more."))
    assert contents(server.streams[1].request["messages"]) == [
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "More"),
    ]
    assert server.streams[1].request["max_tokens"] == 64
    assert answers(chat).last.locator("strong").inner_text() == "Much"
    assert chat.get_by_text("2 answers · 2 tokens").is_visible()
    turns = chat.evaluate("window.traits.turns")
    assert [turn.get("content") or turn["answer"]["text"] for turn in turns] == [
        "Hello",
        "Hi.",
        "More",
        "**Much** more.",
    ]
    assert [turn["answer"]["stream"] for turn in turns if turn["role"] == "assistant"] == ["st_1", "st_2"]


def test_names_and_texts_are_text(chat: Page, server: ScriptedServer) -> None:
    converse(chat, server, (HOSTILE, HOSTILE))
    assert chat.locator("img").count() == 0
    assert chat.get_by_text(HOSTILE).count() >= 3


def test_shift_enter_begins_a_line(chat: Page, server: ScriptedServer) -> None:
    box = chat.get_by_role("textbox", name="Message", exact=True)
    box.fill("one")
    chat.keyboard.press("Shift+Enter")
    chat.keyboard.type("two")
    assert server.streams == []
    chat.keyboard.press("Enter")
    assert contents(server.asked(1).request["messages"]) == [("user", "one\ntwo")]
    assert box.input_value() == ""


def test_stop_leaves_what_came_and_what_is_said_next_follows_it(chat: Page, server: ScriptedServer) -> None:
    say(chat, "Count")
    stream = server.asked(1)
    stream.bring("one two")
    say(chat, "kept while it answers")
    assert chat.get_by_role("button", name="Send").is_disabled()
    chat.get_by_role("button", name="Stop").click()
    wait_for_state(chat, "cancelled")
    assert stream.cancelled
    assert chat.get_by_role("textbox", name="Message", exact=True).input_value() == "kept while it answers"
    chat.get_by_role("button", name="Send").click()
    assert contents(server.asked(2).request["messages"])[1] == ("assistant", "one two")


def test_retry_asks_the_last_question_again(chat: Page, server: ScriptedServer) -> None:
    converse(chat, server, ("a", "1"), ("b", "2"))
    assert chat.get_by_role("button", name="Retry").count() == 1
    chat.get_by_role("button", name="Retry").click()
    again = server.asked(3)
    assert contents(again.request["messages"]) == [("user", "a"), ("assistant", "1"), ("user", "b")]
    again.bring("3")
    again.end()
    chat.wait_for_function("window.traits.turns.at(-1).answer.text === '3' && window.traits.turns.length === 4")


def test_what_the_kernel_says_late_does_not_take_the_place_of_a_retry(
    chat: Page, server: ScriptedServer, bare_page: Any
) -> None:
    """A kernel told how the stopped answer had ended after Retry was pressed: the new one was gone from the page."""
    say(chat, "Count")
    server.asked(1).bring("one")
    chat.get_by_role("button", name="Stop").click()
    wait_for_state(chat, "cancelled")
    late = chat.evaluate("window.traits.turns")
    chat.get_by_role("button", name="Retry").click()
    second = server.asked(2)
    second.bring("two")
    chat.get_by_text("two").wait_for()
    bare_page.update(turns=late)
    second.bring(" three")
    chat.get_by_text("two three").wait_for()
    assert chat.evaluate("window.traits.turns.at(-1).answer.stream") == "st_2"
    chat.get_by_role("button", name="Stop").click()
    wait_for_state(chat, "cancelled")
    assert second.cancelled


def test_what_the_kernel_says_late_does_not_take_back_what_was_said(
    chat: Page, server: ScriptedServer, bare_page: Any
) -> None:
    """A busy kernel told how the first answer had ended after more was said: the new question was gone."""
    converse(chat, server, ("a", "1"))
    late = chat.evaluate("window.traits.turns")
    late[1]["answer"]["figures"] = None
    say(chat, "b")
    second = server.asked(2)
    bare_page.update(turns=late)
    second.bring("2")
    second.end()
    wait_for_state(chat, "completed", 2)
    turns = chat.evaluate("window.traits.turns")
    assert [turn.get("content") or turn["answer"]["text"] for turn in turns] == ["a", "1", "b", "2"]
    bare_page.update(turns=[], heard=chat.evaluate("window.traits.said"))
    wait_for_state(chat, "completed", 0)


def test_changing_a_turn_drops_what_follows(chat: Page, server: ScriptedServer) -> None:
    converse(chat, server, ("a", "1"), ("b", "2"))
    chat.get_by_role("button", name="Edit").first.click()
    box = chat.get_by_role("textbox", name="Change the message")
    assert box.input_value() == "a"
    box.press("Escape")
    assert answers(chat).count() == 2
    chat.get_by_role("button", name="Edit").first.click()
    box.fill("c")
    box.press("Enter")
    assert contents(server.asked(3).request["messages"]) == [("user", "c")]
    assert answers(chat).count() == 1


def test_a_refusal_is_said_and_the_next_question_goes_on(chat: Page, server: ScriptedServer) -> None:
    server.refusal = {"code": "invalid_request", "message": f"no {HOSTILE}", "retryable": False}
    say(chat, "a")
    wait_for_state(chat, "failed")
    assert chat.get_by_role("alert").filter(has_text="no <img").is_visible()
    server.refusal = None
    say(chat, "b")
    assert contents(server.asked(1).request["messages"]) == [("user", "a\n\nb")]


def test_a_lost_connection_comes_back(chat: Page, server: ScriptedServer) -> None:
    say(chat, "a")
    stream = server.asked(1)
    stream.bring("one ")
    answers(chat).get_by_role("log").get_by_text("one").wait_for()
    stream.lose()
    server.asked(1, readings=2)
    stream.bring("two")
    stream.end()
    wait_for_state(chat, "completed")
    assert answers(chat).get_by_role("log").inner_text().strip() == "one two"


def test_the_system_prompt_comes_first_and_clear_begins_anew(chat: Page, server: ScriptedServer) -> None:
    converse(chat, server, ("a", "1"))
    chat.get_by_role("button", name="System prompt").click()
    chat.get_by_role("textbox", name="What the model is told").fill("Be brief.")
    chat.get_by_role("button", name="Clear").click()
    assert answers(chat).count() == 0
    say(chat, "b")
    assert contents(server.asked(2).request["messages"]) == [("system", "Be brief."), ("user", "b")]


def test_the_answer_is_announced_once_it_is_there(chat: Page, server: ScriptedServer) -> None:
    say(chat, "a")
    stream = server.asked(1)
    stream.bring("It is ")
    answers(chat).get_by_text("It is").wait_for()
    assert answers(chat).get_by_role("log").get_attribute("aria-live") == "off"
    said = chat.get_by_role("status", name="Answer")
    assert said.inner_text() == ""
    stream.bring("this.")
    stream.end()
    wait_for_state(chat, "completed")
    assert said.inner_text() == "It is this."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_anybody(chat: Page, server: ScriptedServer, scheme: str) -> None:
    chat.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    chat.add_style_tag(content="@media (prefers-color-scheme: dark) { body { background: #111 } }")
    converse(
        chat, server, ("a", "# One\n\n`two` [three](https://example.org)\n\n```py\nfour\n```\n\n|a|b|\n|-|-|\n|1|2|\n")
    )
    chat.get_by_role("button", name="System prompt").click()
    chat.get_by_role("button", name="Edit").click()
    assert violations(chat) == []


# Through the kernel alone.


@pytest.fixture
def client(long_llama: Path, tmp_path: Path) -> Iterator[Client]:
    folder = copytree(long_llama, tmp_path / "chatty")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with embedded() as client:
        client.load("demo", folder)
        yield client


def test_the_kernel_asks_where_the_page_cannot(client: Client, bare_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comms = CommPage(bare_page, monkeypatch)
    chat = Chat(client, "demo", system="Be brief.", max_tokens=ENDLESS, ignore_eos=True, seed=1, temperature=0)
    page = comms.show(chat)
    comms.busy = True
    say(page, "Hello")
    page.get_by_text("Waiting for the kernel…").wait_for()
    comms.busy = False
    comms.until(lambda: chat.streams and len(chat.streams[0].text) > 20)
    comms.until(lambda: answers(page).count() and len(answers(page).get_by_role("log").inner_text()) > 20, "text")
    page.get_by_role("button", name="Stop").click()
    comms.until(lambda: chat.streams[0].done)
    comms.until(lambda: page.locator(".jp-TokenStream[data-state=cancelled]").count())
    first = chat.streams[0]
    assert chat.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first.text},
    ]
    page.get_by_role("button", name="Retry").click()
    comms.until(lambda: chat.streams and chat.streams[0] is not first)
    assert chat.streams[0].request.messages == first.request.messages  # type: ignore[union-attr]
    assert [turn["role"] for turn in chat.turns] == ["user", "assistant"]
    page.get_by_role("button", name="Clear").click()
    comms.until(lambda: chat.turns == [])
    assert chat.streams == []
