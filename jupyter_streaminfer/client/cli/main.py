"""One command, from the words of a terminal to an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from jupyter_streaminfer.client.cli import files, metrics, models, requests, routes
from jupyter_streaminfer.client.cli.commands import Commands, Run
from jupyter_streaminfer.client.cli.output import fail
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.connect import connect_to_server, embedded
from jupyter_streaminfer.client.errors import NoServerError
from jupyter_streaminfer.protocol import StreaminferError

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 1 after an error, which is one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        with _client(arguments) as client:
            command: Run = arguments.command
            return command(client, arguments)
    except StreaminferError as error:
        return fail(str(error))
    except ExceptionGroup as group:
        return fail(str(group.exceptions[0]))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain of it once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _client(arguments: argparse.Namespace) -> Client:
    if arguments.embedded:
        client = embedded()
        if "model" in arguments:
            client.load(arguments.model, arguments.path, progress=False)
        return client
    client_or_none = connect_to_server(arguments.url, arguments.token)
    if client_or_none is None:
        raise NoServerError(
            "No running Jupyter server with jupyter_streaminfer was found. Start one (jupyter lab), name one with "
            "--url and --token, or use --embedded."
        )
    return client_or_none


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter streaminfer",
        description="Streaming inference in a running Jupyter server. The server of this terminal, or one that runs "
        "here, is found by itself.",
    )
    commands = Commands(parser)
    for group in (models, routes, files, requests, metrics):
        group.add_to(commands)
    return parser
