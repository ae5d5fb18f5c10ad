"""The words after a magic's name, read as a command line is, but for a notebook: nothing here ends the process."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import NoReturn

from IPython.core.error import UsageError


class HelpShownError(Exception):
    """``--help`` was asked for, and printed: there is nothing else to do."""


class MagicParser(argparse.ArgumentParser):
    """Says what is wrong in one line, and what to look at."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words."""
        raise UsageError(f"{message} ({self.prog} --help)")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """What argparse does after it printed its help."""
        raise HelpShownError


def offered(parser: argparse.ArgumentParser, words: list[str], models: list[str]) -> list[str]:
    """What may come after these words: commands where one is missing; else options, and models."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = next((action.choices[word] for word in words if word in action.choices), None)
            return [*action.choices, "--help"] if chosen is None else offered(chosen, words, models)
    options = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    takes_model = any(action.dest in ("model", "name") for action in parser._actions)
    return options + (models if takes_model else [])


def split(line: str) -> list[str]:
    """The words of a line, where quotes keep some together. Raises `UsageError` for a quote that is not closed."""
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = ""
    if os.name == "nt":
        words.escape = ""  # paths have backslashes there
    try:
        return list(words)
    except ValueError as error:
        raise UsageError(f"The line cannot be read: {error}.") from None
