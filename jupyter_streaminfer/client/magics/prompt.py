"""``%%streaminfer MODEL``: what is asked, and where the answer is kept."""

from __future__ import annotations

import argparse
import keyword
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.utils.text import FullEvalFormatter

from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.magics.words import MagicParser, split
from jupyter_streaminfer.client.sampling import add_sampling, asked
from jupyter_streaminfer.client.stream import ClientStream

RESULT = "_stream"
"""The variable that holds the stream where no other is named."""


def parser() -> MagicParser:
    """Of the words after ``%%streaminfer``."""
    words = MagicParser(
        prog="%%streaminfer",
        description="Generate text; the cell below this line is the prompt, as it is.",
        epilog="%streaminfer (one %) looks after models and streams.",
    )
    words.add_argument("model", metavar="MODEL", help="NAME, or NAME@VERSION")
    add_options(words)
    return words


def add_options(words: argparse.ArgumentParser) -> None:
    """Add those that say how text is generated, and where it is kept."""
    words.add_argument("--out", default=RESULT, type=_variable, metavar="NAME", help=f"the variable for it ({RESULT})")
    words.add_argument("--format", action="store_true", help="replace {expression} in the prompt by its value")
    add_sampling(words)
    words.add_argument("--logprobs", type=int, metavar="K", help="with each token its probability, and the K likeliest")
    words.add_argument("--detached", action="store_true", help="go on when nobody reads it")


def ask(client: Callable[[], Client], line: str, cell: str, variables: dict[str, Any]) -> ClientStream:
    """Start the stream that a cell asks for, and put it into its variable.

    ``client`` is called once the words are understood.
    """
    arguments = parser().parse_args(split(line))
    prompt = cell.removesuffix("\n")
    if not prompt.strip():
        raise UsageError("The prompt is missing: it is the text of the cell, below the line with %%streaminfer.")
    return start(client, arguments, prompt, variables)


def start(
    client: Callable[[], Client], arguments: argparse.Namespace, prompt: str, variables: dict[str, Any]
) -> ClientStream:
    """The same, once its words were read."""
    if arguments.format:
        prompt = _formatted(prompt, variables)
    options = asked(arguments, prompt) | {"logprobs": arguments.logprobs, "detached": arguments.detached}
    stream: ClientStream = client().generate(arguments.model, **options)
    variables[arguments.out] = stream
    return stream


def _formatted(prompt: str, variables: dict[str, Any]) -> str:
    try:
        return str(FullEvalFormatter().vformat(prompt, (), variables))
    except Exception as error:
        # Whatever the expressions of the cell raise.
        raise UsageError(f"--format: {type(error).__name__}: {error}; {{{{ stands for a brace.") from None


def _variable(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a variable")
    return text
