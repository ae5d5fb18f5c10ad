"""The worker process: ``python -m jupyter_streaminfer.workers.child CHANNEL``; the server starts it (`process.py`)."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, cast

import msgspec

from jupyter_streaminfer.protocol import (
    ErrorInfo,
    JobEvent,
    JobFailed,
    ModelStats,
    Rejected,
    StreaminferError,
    invalid_request,
)
from jupyter_streaminfer.workers import limits
from jupyter_streaminfer.workers.channel import connect
from jupyter_streaminfer.workers.commands import Command, Stop
from jupyter_streaminfer.workers.frames import FrameBuffer, FrameTooLongError, frame
from jupyter_streaminfer.workers.loading import load
from jupyter_streaminfer.workers.loop import StepLoop
from jupyter_streaminfer.workers.messages import (
    Broken,
    Events,
    Heartbeat,
    Hello,
    Loaded,
    Loading,
    Message,
    Refused,
    decode_command,
    decode_hello,
    encode,
)
from jupyter_streaminfer.workers.progress import Progress

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.runtime import Runtime

log = logging.getLogger(__name__)

RECEIVE_BYTES = 256 * 2**10
NO_MEMORY = ("memory", "bad_alloc")
"""What is in the texts of the errors of whoever got none."""


class Child:
    """One thread computes, one reads commands, one sends heartbeats; whichever fails ends the process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        # A thread that waits in `recv` itself is woken for nothing each time the server reads what was sent to it.
        self._readable = selectors.DefaultSelector()
        self._readable.register(connection, selectors.EVENT_READ)
        self._sending = threading.Lock()
        self._steps = StepLoop(self._tell)
        self._runtime: Runtime | None = None
        self._buffer = FrameBuffer()
        self._parent = os.getppid()

    def run(self) -> NoReturn:
        """Load what the server says, and compute until it says stop or is gone."""
        first, *early = self._receive()
        hello = decode_hello(first)
        limits.keep_limits(hello.spec.bounds.memory_bytes)
        self._begin("commands", lambda: self._listen(early))
        self._begin("heartbeat", lambda: self._beat(hello))
        try:
            runtime = load(hello.spec, Progress(lambda progress: self._send(Loading(progress))))
        except StreaminferError as error:
            self._send(Refused(_with_limit(error, hello.spec.bounds.memory_bytes)))
            leave(0)
        self._runtime = runtime
        limits.give_way()
        self._send(Loaded(runtime.info))
        try:
            self._steps.run(runtime)
        except Exception as error:
            log.exception("The step loop stops")
            self._send(Broken(f"{type(error).__name__}: {error}"))
            leave(1)
        leave(0)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception:
                log.exception("The thread for %s stops", name)
            leave(1)

        threading.Thread(target=run, name=f"streaminfer-{name}", daemon=True).start()

    # Reading.

    def _receive(self) -> list[bytes]:
        """The next messages, one at least; the server's end is this process's."""
        while True:
            try:
                self._readable.select()
                data = self._connection.recv(RECEIVE_BYTES)
            except OSError:
                leave(0)
            if not data:
                leave(0)
            if messages := self._buffer.feed(data):
                return messages

    def _listen(self, messages: list[bytes]) -> None:
        while True:
            self._steps.put_all([command for message in messages if (command := self._command(message)) is not None])
            messages = self._receive()

    def _command(self, message: bytes) -> Command | None:
        """What is asked; None where that was answered here."""
        try:
            command = decode_command(message)
        except msgspec.ValidationError as error:
            # A job that was made in the server's process and never checked as a message; the thread would take it.
            job = msgspec.msgpack.decode(message)["job"]
            self._tell([Rejected(job, invalid_request(error).info)])
            return None
        if isinstance(command, Stop) and self._runtime is None:
            leave(0)  # a load is not waited for
        return cast(Command, command)

    # Sending.

    def _beat(self, hello: Hello) -> None:
        never = threading.Event()
        while not never.wait(hello.heartbeat_s):
            if sys.platform != "win32" and os.getppid() != self._parent:
                leave(0)  # a fork of the server keeps the connection open, but the server is gone
            steps = self._steps
            self._send(Heartbeat(steps.steps, steps.working, self._stats()))

    def _stats(self) -> ModelStats | None:
        return None if self._runtime is None else self._runtime.stats()

    def _tell(self, events: list[JobEvent]) -> None:
        try:
            self._send(Events(events, self._stats()))
        except FrameTooLongError as error:
            if len(events) > 1:
                half = len(events) // 2
                self._tell(events[:half])
                self._tell(events[half:])
            else:
                message = f"The answer is too long: {error}. Ask for less at once."
                self._tell([JobFailed(events[0].job, ErrorInfo("too_large", message))])

    def _send(self, message: Message) -> None:
        data = frame(encode(message))
        try:
            with self._sending:
                self._connection.sendall(data)
        except OSError:
            leave(0)  # the server is gone


def _with_limit(error: StreaminferError, memory_bytes: int) -> ErrorInfo:
    """The refusal, with the limit named that may be to blame."""
    info = error.info
    if not memory_bytes or not any(word in info.message.lower() for word in NO_MEMORY):
        return info
    hint = f"{info.message} (memory_bytes = {memory_bytes} is all that this worker may take; raise it if it can be)"
    return msgspec.structs.replace(info, message=hint)


def leave(status: int) -> NoReturn:
    """End the process at once, on any thread: the operating system frees what it has."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> NoReturn:
    """Connect to the server that started this process, and serve it."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    connection = connect(sys.argv[1])
    limits.keep_lifeline()
    Child(connection).run()


if __name__ == "__main__":
    main()
