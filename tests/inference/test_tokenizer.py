"""Prompts and conversations become the tokens that transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import ChatMessage, StreaminferError

from .conftest import build_tokenizer


def edit(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | changes))


@given(text=st.text(max_size=50))
def test_text_equals_transformers(llama_folder: Path, text: str) -> None:
    assert Tokenizer(llama_folder, 320).encode(text) == AutoTokenizer.from_pretrained(llama_folder)(text)["input_ids"]


@pytest.mark.parametrize(
    "flags",
    [
        {"add_bos_token": True},
        {"add_eos_token": True},
        {"add_bos_token": True, "add_eos_token": True},
        {"add_bos_token": False},
        {"add_bos_token": True, "bos_token": {"__type": "AddedToken", "content": "<s>"}},
    ],
)
@pytest.mark.parametrize("processed", [False, True])
def test_added_specials_equal_transformers(tmp_path: Path, flags: dict[str, Any], processed: bool) -> None:
    tokenizer = build_tokenizer()
    if processed:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save_pretrained(tmp_path)
    edit(tmp_path / "tokenizer_config.json", **flags)
    expected = AutoTokenizer.from_pretrained(tmp_path)("The module")["input_ids"]
    assert Tokenizer(tmp_path, 320).encode("The module") == expected


def test_truncation_and_padding_of_the_file_do_not_apply(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(Tokenizer(tmp_path, 320).encode("xyzxyzxyz")) == 9


def test_end_tokens_come_from_the_first_file_that_names_any(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    assert Tokenizer(tmp_path, 320).eos_ids == {2}
    edit(tmp_path / "config.json", eos_token_id=7)
    assert Tokenizer(tmp_path, 320).eos_ids == {7}
    edit(tmp_path / "generation_config.json", eos_token_id=[8, 9])
    assert Tokenizer(tmp_path, 320).eos_ids == {8, 9}


def test_template_in_the_config(tmp_path: Path) -> None:
    build_tokenizer(chat=False).save_pretrained(tmp_path)
    assert Tokenizer(tmp_path, 320).template is None
    edit(tmp_path / "tokenizer_config.json", chat_template="{{ messages[0]['content'] }}!")
    tokenizer = Tokenizer(tmp_path, 320)
    assert tokenizer.encode_chat([ChatMessage("user", "The")]) == tokenizer.encode("The!")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(1000000) %}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ missing.field }}",
        "{{ messages[0] + 1 }}",
    ],
)
def test_a_hostile_or_broken_template_is_an_error_of_its_messages(tmp_path: Path, template: str) -> None:
    build_tokenizer(chat=False).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(StreaminferError) as caught:
        Tokenizer(tmp_path, 320).encode_chat([ChatMessage("user", "hi")])
    assert (caught.value.code, caught.value.field) == ("invalid_request", "messages")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("tokenizer.json", "{}", "tokenizer.json cannot be read"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json must hold a JSON object"),
        ("generation_config.json", '{"eos_token_id": "x"}', "generation_config.json: eos_token_id"),
        ("chat_template.jinja", "{% if %}", "chat template"),
    ],
)
def test_refuses_a_broken_file_by_name(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(StreaminferError, match=said) as caught:
        Tokenizer(tmp_path, 320)
    assert caught.value.code == "invalid_request"


def test_refuses_more_tokens_than_the_model_has(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(StreaminferError, match="vocab_size is 100"):
        Tokenizer(tmp_path, 100)
