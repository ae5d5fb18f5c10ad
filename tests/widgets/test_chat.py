"""A conversation's kernel side, over an engine in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets import Chat

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
TIMEOUT_S = 60
OPTIONS: dict[str, Any] = {"max_tokens": 8, "seed": 1, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def chatty(long_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template."""
    folder = copytree(long_llama, tmp_path_factory.mktemp("models") / "chatty")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def client(chatty: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("demo", chatty)
        yield client
        client.unload("demo")  # tests elsewhere may have the engine of this process, too


def until(chat: Chat, reached: Any) -> None:
    """Wait for a change of the chat's traits that brings something about."""
    changed = threading.Condition()

    def note(change: object) -> None:
        with changed:
            changed.notify_all()

    chat.observe(note)
    with changed:
        assert changed.wait_for(lambda: reached(chat), TIMEOUT_S)


def receive(chat: Chat, kind: str) -> None:
    """What the page sends, as ipywidgets delivers it."""
    chat._handle_custom_msg({"type": kind}, [])


def settled(chat: Chat) -> bool:
    return bool(chat.turns) and chat.turns[-1].get("answer", {}).get("state") not in (None, "streaming")


def test_what_is_said_and_answered_is_the_next_question(client: Client) -> None:
    chat = Chat(client, "demo", system="Be brief.", **OPTIONS)
    first = chat.send("Hello").wait()
    until(chat, settled)
    second = chat.send("More").wait()
    until(chat, settled)
    assert chat.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": second.text},
    ]
    assert chat.streams == [first, second]
    direct = client.generate("demo", messages=chat.messages[:-1], **OPTIONS).wait()
    assert direct.text == second.text
    assert chat.live is None


def test_a_model_without_a_chat_template_is_refused_with_what_to_do(client: Client, long_llama: Path) -> None:
    client.load("plain", long_llama)
    with pytest.raises(StreaminferError, match=r"has no chat template.*client\.generate") as refused:
        Chat(client, "plain")
    assert refused.value.field == "model"


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"tempratur": 1.0}, {"messages": []}])
def test_wrong_options_are_refused_at_once(client: Client, options: dict[str, Any]) -> None:
    with pytest.raises(StreaminferError) as refused:
        Chat(client, "demo", **options)
    assert refused.value.field == next(iter(options))


def test_a_second_question_waits_for_the_answer(client: Client) -> None:
    chat = Chat(client, "demo", **OPTIONS | {"max_tokens": ENDLESS})
    stream = chat.send("Count")
    with pytest.raises(StreaminferError, match="still coming"):
        chat.send("Faster")
    assert [turn["role"] for turn in chat.turns] == ["user", "assistant"]
    next(iter(stream))
    chat.stop()
    until(chat, settled)
    assert stream.state == "cancelled"
    assert chat.messages[-1]["content"] == stream.text


def test_what_the_page_drops_is_ended(client: Client) -> None:
    chat = Chat(client, "demo", **OPTIONS | {"max_tokens": ENDLESS})
    stream = chat.send("Count")
    chat.turns = [{"role": "user", "content": "Stop"}]
    receive(chat, "answer")
    until(chat, lambda chat: chat.streams and chat.streams[0] is not stream)
    stream.wait(TIMEOUT_S)
    assert stream.state == "cancelled"
    chat.clear()
    assert chat.turns == chat.streams == []


def test_what_the_page_began_is_read_here_too(client: Client) -> None:
    chat = Chat(client, "demo", **OPTIONS)
    begun = client.generate("demo", messages=[{"role": "user", "content": "Hello"}], **OPTIONS)
    answer = {"stream": begun.id, "epoch": begun.epoch, "begun": None, "text": "", "state": "streaming"}
    chat.turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "answer": answer}]
    until(chat, settled)
    assert chat.streams == [begun]
    assert chat.messages[-1] == {"role": "assistant", "content": begun.text}


def test_a_refused_answer_says_why_and_the_question_is_asked_with_the_next(client: Client, chatty: Path) -> None:
    chat = Chat(client, "demo", **OPTIONS)
    client.unload("demo")
    chat.turns = [{"role": "user", "content": "Hello"}]
    receive(chat, "answer")
    until(chat, settled)
    assert chat.turns[-1]["answer"]["error"]["code"] == "model_not_found"
    with pytest.raises(StreaminferError):
        chat.send("Anybody?")
    assert len(chat.turns) == 2
    client.load("demo", chatty)
    chat.send("Again").wait()
    request = chat.streams[0].request
    assert [message.content for message in request.messages] == ["Hello\n\nAgain"]  # type: ignore[union-attr]


def test_what_a_notebook_keeps_is_the_conversation_as_text(client: Client) -> None:
    chat = Chat(client, "demo", **OPTIONS)
    assert chat.text() == "[a conversation with demo]"
    answer = chat.send("<b>Hello</b>").wait().text
    assert chat.text() == f"You: <b>Hello</b>\n\ndemo: {answer}"
    assert "<b>" not in chat.html()
    assert "&lt;b&gt;Hello&lt;/b&gt;" in chat.html()
