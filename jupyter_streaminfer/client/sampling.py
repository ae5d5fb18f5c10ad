"""The options of a generation as words: of a terminal's command, and of a notebook's magic."""

from __future__ import annotations

import argparse
from typing import Any

_NUMBERS = (
    ("--max-tokens", int, None, "new tokens at most (128)"),
    ("--temperature", float, 1.0, "0 takes the likeliest token each time (1)"),
    ("--top-k", int, 0, "draw from the k likeliest tokens (0: from all)"),
    ("--top-p", float, 1.0, "draw from the likeliest tokens of that share (1)"),
    ("--min-p", float, 0.0, "drop tokens so much less likely than the first (0)"),
    ("--repetition-penalty", float, 1.0, "of tokens that are there already (1)"),
    ("--presence-penalty", float, 0.0, "of those that the answer has (0)"),
    ("--frequency-penalty", float, 0.0, "the same, times how often (0)"),
    ("--seed", int, None, "the same seed gives the same text"),
)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--chat", action="store_true", help="the prompt is a user's turn of a chat")
    parser.add_argument("--system", metavar="TEXT", help="what the chat begins with; means --chat")
    for name, kind, default, help in _NUMBERS:
        parser.add_argument(name, type=kind, default=default, metavar="N" if kind is int else "X", help=help)
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given repeatedly"
    )
    parser.add_argument("--ignore-eos", action="store_true", help="go on past the model's own end")


def asked(arguments: argparse.Namespace, prompt: str) -> dict[str, Any]:
    """What `Client.generate` is given for them, beside the model."""
    names = [name.removeprefix("--").replace("-", "_") for name, *_ in _NUMBERS]
    options: dict[str, Any] = {name: getattr(arguments, name) for name in (*names, "stop", "ignore_eos")}
    if not arguments.chat and arguments.system is None:
        return options | {"prompt": prompt}
    turns = [{"role": "user", "content": prompt}]
    if arguments.system is not None:
        turns.insert(0, {"role": "system", "content": arguments.system})
    return options | {"messages": turns}
