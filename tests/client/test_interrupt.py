"""Ctrl-C in a script with an engine of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .server_process import clean_environment

SCRIPT = """
import os, signal, sys, threading, time
from jupyter_streaminfer import connect
client = connect()
client.load("tiny", sys.argv[1])
stream = client.generate("tiny", "The", max_tokens=200_000, ignore_eos=True)

def interrupt():
    # The handler is in place from the reading's first moment to its last.
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

interrupted = threading.Thread(target=interrupt)
try:
    {reading}
except KeyboardInterrupt:
    print(stream.wait(30).state)
"""


def script(code: str, tmp_path: Path, model: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "reading",
    [
        "interrupted.start(); [delta for delta in stream]",
        "for delta in stream: interrupted.start(); time.sleep(60)",
        "interrupted.start(); stream.wait()",
        "interrupted.start(); stream.wait(60)",
    ],
    ids=["iterating", "in the loop's body", "waiting", "waiting for a while"],
)
def test_ctrl_c_cancels_the_stream(reading: str, tmp_path: Path, long_llama: Path) -> None:
    process = script(SCRIPT.format(reading=reading), tmp_path, long_llama)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "cancelled\n"), err


def test_a_script_that_closes_nothing_ends(tmp_path: Path, long_llama: Path) -> None:
    """A thread of the engine's that the interpreter waits for would keep every such script alive for ever."""
    code = SCRIPT.format(reading="next(iter(stream))")
    process = script(code, tmp_path, long_llama)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_handler_of_before_is_back_after_reading() -> None:
    from jupyter_streaminfer.client.interrupt import on_interrupt

    before = signal.getsignal(signal.SIGINT)
    told: list[str] = []
    with on_interrupt(lambda: told.append("outer")):
        inner = on_interrupt(lambda: told.append("inner"))
        inner.__enter__()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        inner.__exit__(None, None, None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert told == ["outer", "inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before
