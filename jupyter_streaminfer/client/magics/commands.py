"""``%streaminfer COMMAND``: models, streams, alerts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, get_args

from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.magics import prompt
from jupyter_streaminfer.client.magics.overview import Overview
from jupyter_streaminfer.client.magics.words import MagicParser, split
from jupyter_streaminfer.protocol import DType, Placement

Run = Callable[[Client, argparse.Namespace], Any]
"""Runs a command; what it returns is the cell's result."""


def parser() -> MagicParser:
    """Of the words after ``%streaminfer``."""
    words = MagicParser(
        prog="%streaminfer",
        description="Look after models and streams; without a command: how the engine is.",
        epilog="%%%%streaminfer MODEL (two %%) generates text from the rest of its cell, with the options of generate.",
    )
    words.set_defaults(run=_overview)
    commands = words.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Run, help: str, *positional: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        for argument in positional:
            added.add_argument(argument.lower(), metavar=argument)
        return added

    generate = add("generate", _generate, "generate text from a prompt on the same line", "MODEL", "PROMPT")
    prompt.add_options(generate)
    add("models", lambda client, words: client.models(), "every version of every model")
    load = _with_version(add("load", _load, "load a model and wait until it is warmed up", "NAME"))
    load.add_argument("--pinned", action="store_true", help="never unload it by itself")
    swap = _with_version(add("swap", _swap, "load a new version beside the old, then go over to it", "NAME"))
    swap.add_argument("--stand-by", action="store_true", help="do not go over to it")
    add("rollback", lambda client, words: client.rollback(words.name), "go back to the version before", "NAME")
    add("activate", _activate, "make a version that stands by the latest", "NAME", "VERSION")
    add("unload", lambda client, words: client.unload(words.name), "free a model, or NAME@VERSION", "NAME")
    add("streams", lambda client, words: client.streams(), "the streams that the engine keeps")
    add("cancel", lambda client, words: client.cancel(words.id), "end a stream", "ID")
    add("metrics", lambda client, words: client.metrics(), "what the engine measures of itself")
    add("alerts", lambda client, words: client.alerts(), "bounds on figures, and whether they are kept")
    add("dashboard", lambda client, words: client.dashboard(), "what the engine does, live")
    return words


def run(client: Callable[[], Client], line: str, variables: dict[str, Any]) -> Any:
    """Run the command of a line; ``client`` is called once its words are understood."""
    arguments = parser().parse_args(split(line), argparse.Namespace(variables=variables))
    command: Run = arguments.run
    return command(client(), arguments)


def _with_version(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="a model folder or file, or module:factory; absent: the bundled NAME"
    )
    parser.add_argument("--version", help="what the version is called (default: the next number)")
    parser.add_argument("--dtype", default="auto", choices=get_args(DType), help="what the weights are kept in")
    parser.add_argument("--placement", default="auto", choices=get_args(Placement), help="where it computes")
    return parser


def _version(words: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(words, name) for name in ("version", "dtype", "placement")}


def _overview(client: Client, words: argparse.Namespace) -> Overview:
    return Overview.of(client)


def _generate(client: Client, words: argparse.Namespace) -> Any:
    return prompt.start(lambda: client, words, words.prompt, words.variables)


def _load(client: Client, words: argparse.Namespace) -> Any:
    return client.load(words.name, words.path, pinned=words.pinned, **_version(words))


def _swap(client: Client, words: argparse.Namespace) -> Any:
    return client.swap(words.name, words.path, activate=not words.stand_by, **_version(words))


def _activate(client: Client, words: argparse.Namespace) -> Any:
    return client.activate(words.name, words.version)
