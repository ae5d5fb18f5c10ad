"""How a command is added: its name, what runs it, and the options that all of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jupyter_streaminfer.client.client import Client

Run = Callable[[Client, argparse.Namespace], int]
"""Runs a command; returns the exit status."""


class Commands:
    """The commands of one parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
        where = argparse.ArgumentParser(add_help=False)
        where.add_argument("--url", help="the Jupyter server's base URL")
        where.add_argument(
            "--token", help="its token; better in the variable JUPYTER_TOKEN, where other users cannot see it"
        )
        where.add_argument(
            "--embedded", action="store_true", help="use an engine in this process instead of a server's"
        )
        self._where = where

    def add(self, name: str, run: Run, help: str, *positional: str) -> argparse.ArgumentParser:
        """A command and its arguments that must be given."""
        added: argparse.ArgumentParser = self._commands.add_parser(
            name, parents=[self._where], help=help, description=help
        )
        added.set_defaults(command=run)
        for argument in positional:
            added.add_argument(argument)
        return added

    def add_for_model(self, name: str, run: Run, help: str) -> argparse.ArgumentParser:
        """A command that asks a model something; with an engine in this process it loads it first."""
        added = self.add(name, run, help, "model")
        added.add_argument("--path", help="with --embedded: the model's folder; absent: the bundled model of that name")
        return added


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of some options that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}
