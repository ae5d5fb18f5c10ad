"""Text to token ids and the chat template, from a model folder, as transformers' AutoTokenizer does it."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as Backend

from jupyter_streaminfer.inference.checkpoint import read_json, read_optional_json, refuse
from jupyter_streaminfer.protocol import ChatMessage, StreaminferError


class Tokenizer:
    """The tokenizer of one model folder."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        """Read ``tokenizer.json`` and what stands beside it; `StreaminferError` where it is missing or unusable."""
        self.declared = read_json(folder / "tokenizer.json")
        settings = read_optional_json(folder / "tokenizer_config.json")
        try:
            self.backend = Backend.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing more specific
            raise refuse(f"tokenizer.json cannot be read: {error}") from error
        self.backend.no_truncation()
        self.backend.no_padding()
        self.special_tokens = {
            name: text for name, value in settings.items() if name.endswith("_token") and (text := _content(value))
        }
        pieces = self.backend.get_vocab(with_added_tokens=True)
        highest = max(pieces.values(), default=-1)
        if highest >= vocabulary:
            raise refuse(f"tokenizer.json has token id {highest}, but config.json's vocab_size is {vocabulary}")
        self.longest_piece = max((len(piece) for piece in pieces), default=1)
        self.eos_ids = self._eos_ids(folder)
        self.template = _chat_template(folder, settings)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """A prompt's tokens; ``special``: with those that ``tokenizer.json``'s own post-processor adds.

        ``add_bos_token`` in ``tokenizer_config.json`` counts for nothing beside it, as in transformers 5.
        """
        ids: list[int] = self.backend.encode(text, add_special_tokens=special).ids
        return ids

    def encode_chat(self, messages: Seq[ChatMessage]) -> list[int]:
        """The tokens of a conversation in the model's chat template, up to where the assistant speaks.

        Raises `StreaminferError` when the model has no template or the template refuses the messages.
        """
        if self.template is None:
            raise StreaminferError(
                "invalid_request", "this model has no chat template; send prompt instead of messages", field="messages"
            )
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.template.render(messages=turns, add_generation_prompt=True, **self.special_tokens)
        except Exception as error:  # whatever the folder's template may do wrong
            raise StreaminferError(
                "invalid_request", f"the model's chat template refuses these messages: {error}", field="messages"
            ) from error
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def _eos_ids(self, folder: Path) -> frozenset[int]:
        """The tokens that end an answer, from the first of the three files that names any."""
        for name in ("generation_config.json", "config.json"):
            found = read_optional_json(folder / name).get("eos_token_id")
            if found is not None:
                ids = found if isinstance(found, list) else [found]
                if not all(type(identifier) is int for identifier in ids):
                    raise refuse(f"{name}: eos_token_id must be a token id or a list of them, found {found!r:.80}")
                return frozenset(ids)
        token = self.special_tokens.get("eos_token")
        identifier = None if token is None else self.backend.token_to_id(token)
        return frozenset() if identifier is None else frozenset([identifier])


def _content(value: object) -> str | None:
    """A special token's text: a string, or the ``content`` of an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _chat_template(folder: Path, settings: dict[str, Any]) -> Any:
    """The compiled template of ``chat_template.jinja`` or ``tokenizer_config.json``; None when there is none."""
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else settings.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if source is None:
        return None
    if not isinstance(source, str):
        raise refuse(f"tokenizer_config.json: chat_template must be text, found {type(source).__name__}")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise refuse(f"the chat template cannot be compiled: {error}") from error


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
