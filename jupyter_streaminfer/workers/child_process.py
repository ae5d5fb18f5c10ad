"""A worker process as the operating system has it: started, listened to, signalled, waited for."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from jupyter_streaminfer.workers.channel import Channel
from jupyter_streaminfer.workers.child_log import ChildLog
from jupyter_streaminfer.workers.environment import environment

FLAGS = ("-P", "-u", "-X", "faulthandler")
"""No import from the working directory; output at once; where native code crashes, the Python lines that called it."""
LAST_WORDS_S = 1.0
"""How long the output of a process that ended is waited for: one that it started may keep the pipe open."""


class ChildProcess:
    """Everything that could block happens on threads of its own. May be signalled from the first moment on."""

    def __init__(self, model: str, program: Sequence[str], channel: Channel, on_exit: Callable[[str], None]) -> None:
        """``on_exit`` is called on a thread, once, with what became of it: ``was killed by SIGKILL``."""
        self.log = ChildLog(model)
        self.pid: int | None = None
        self._program = [sys.executable, *FLAGS, *program, channel.argument]
        self._channel = channel
        self._on_exit = on_exit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._doomed = False
        threading.Thread(target=self._run, name=f"streaminfer-{model}-process", daemon=True).start()

    def terminate(self) -> None:
        """Ask the operating system to end it."""
        self._signal(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._signal(subprocess.Popen.kill)

    def _signal(self, send: Callable[[subprocess.Popen[bytes]], None]) -> None:
        with self._lock:
            if self._process is None:
                self._doomed = True
            else:
                send(self._process)

    def _run(self) -> None:
        try:
            process = self._spawn()
        except OSError as error:
            self._on_exit(f"could not be started: {error}")
            return
        finally:
            self._channel.spawned()
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        reader = threading.Thread(target=self.log.read, args=(process.stdout,), daemon=True)
        reader.start()
        with self._lock:
            self._process = process
            self.pid = process.pid
            if self._doomed:
                process.kill()
        # Held until the process has ended: it is what the process lives by.
        with contextlib.suppress(OSError), process.stdin as lifeline:
            with contextlib.suppress(OSError):
                lifeline.write(self._channel.secret)
                lifeline.flush()
            process.wait()
        process.wait()
        reader.join(LAST_WORDS_S)
        self._on_exit(exit_reason(process.returncode))

    def _spawn(self) -> subprocess.Popen[bytes]:
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.BELOW_NORMAL_PRIORITY_CLASS
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            self._program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._channel.handles,
            env=environment(),
            creationflags=flags,
        )


def exit_reason(code: int) -> str:
    """What an exit status says, to follow "the process ..."."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
