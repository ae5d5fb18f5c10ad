"""The magic itself: which client it asks, what its errors look like, what Tab offers."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.connect import connect
from jupyter_streaminfer.client.magics import commands, prompt
from jupyter_streaminfer.client.magics.overview import Overview
from jupyter_streaminfer.client.magics.words import HelpShownError, offered
from jupyter_streaminfer.client.status import ModelTable
from jupyter_streaminfer.client.stream import ClientStream
from jupyter_streaminfer.protocol import Generate, ModelStatus, StreaminferError

NAME = "streaminfer"
CLIENT = "client"
"""A variable of that name that holds a client is whom the magics ask."""


class Magic:
    """Of one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._own: Client | None = None
        """The client that the magics made, where the notebook has none."""
        self._models: set[str] = set()
        """Names that it came across, for Tab."""

    def run(self, line: str, cell: str | None = None) -> Any:
        """``%%streaminfer MODEL`` generates text from the rest of its cell, ``%streaminfer`` looks after models and
        streams. ``%streaminfer --help`` shows the commands, ``%streaminfer generate --help`` the options of both.

        The client that is asked is the variable ``client``, or else what ``jupyter_streaminfer.connect()`` finds.
        """
        try:
            if cell is None:
                result = commands.run(self._client, line, self._shell.user_ns)
            else:
                result = prompt.ask(self._client, line, cell, self._shell.user_ns)
        except HelpShownError:
            return None
        except StreaminferError as error:
            # One line: the traceback would be of this package's own code.
            raise UsageError(" ".join(str(error).split())) from None
        self._models |= _names(result)
        return result

    def complete(self, shell: Any, event: Any) -> list[str]:
        """What may follow on the line: commands, options, and the models that are known here."""
        magic, *words = event.line.split()
        parser = prompt.parser() if magic.startswith("%%") else commands.parser()
        return offered(parser, words, sorted(self._models))

    def close(self) -> None:
        """Let go of the client that was made here."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _client(self) -> Client:
        named = self._shell.user_ns.get(CLIENT)
        if isinstance(named, Client) and not named.closed:
            return named
        if self._own is None or self._own.closed:
            self._own = connect()
        return self._own


def _names(result: object) -> set[str]:
    """The models that a result is about."""
    match result:
        case Overview():
            return _names(result.models)
        case ModelTable():
            return {model.name for model in result}
        case ModelStatus():
            return {result.name}
        case ClientStream(request=Generate(model=name)):
            return {name}
        case _:
            return set()


def load(shell: Any) -> None:
    """Have the shell know the magic."""
    magic = Magic(shell)
    shell.register_magic_function(magic.run, magic_kind="line_cell", magic_name=NAME)
    for name in (f"%{NAME}", f"%%{NAME}"):
        shell.set_hook("complete_command", magic.complete, str_key=name)


def unload(shell: Any) -> None:
    """Have the shell forget it again."""
    known = shell.magics_manager.magics
    magic = known["line"].pop(NAME, None)
    known["cell"].pop(NAME, None)
    if magic is not None:
        magic.__self__.close()
