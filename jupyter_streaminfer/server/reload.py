"""Reading the configuration again: ``streaminfer/api/reload`` and the signal SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.server.base import RestHandler


class ReloadHandler(RestHandler):
    """The configuration, read again."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Take over what changed in the configuration; answers with `Reloaded`. A broken file changes nothing."""
        self.reply(await self.app.configuration.reload())


class HangUp:
    """Calls back at SIGHUP, where the system has it and nobody else wants it; until `stop`.

    A terminal that is closed sends it, too. That ends the server, as it always did.
    """

    def __init__(self, on_signal: Callable[[], object]) -> None:
        self._on_signal = on_signal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._had_terminal = False

    def start(self) -> None:
        """Take the signal, on the running loop."""
        wanted = hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
        if not wanted or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
            return
        self._had_terminal = _has_terminal()
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGHUP, self._told)
        except (NotImplementedError, RuntimeError, ValueError):
            return
        self._loop = loop

    def stop(self) -> None:
        """Give the signal back."""
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGHUP)
            self._loop = None

    def _told(self) -> None:
        if self._had_terminal and not _has_terminal():
            self.stop()
            os.kill(os.getpid(), signal.SIGHUP)
            return
        self._on_signal()


def _has_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


default_handlers = [(r"/streaminfer/api/reload", ReloadHandler)]
