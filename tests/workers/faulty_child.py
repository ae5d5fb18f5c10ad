"""A worker process that has a real fault, once it is loaded and computes; its first argument says which."""

import ctypes
import sys
import threading
from collections.abc import Callable

from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.protocol import JobEvent
from jupyter_streaminfer.workers import ModelSpec, child
from jupyter_streaminfer.workers.progress import Progress


def stall() -> None:
    """Let go of the interpreter, and never come back."""
    threading.Event().wait()


def hold() -> None:
    """Never let go of the interpreter: no other thread of the process runs again."""
    ctypes.PyDLL(None).pause()


def crash() -> None:
    ctypes.string_at(0)


def device() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def hungry() -> None:
    taken = []
    while True:
        taken.append(bytearray(64 * 2**20))


FAULTS: dict[str, Callable[[], None]] = {each.__name__: each for each in (stall, hold, crash, device, hungry)}


def main() -> None:
    fault = FAULTS[sys.argv.pop(1)]
    load = child.load

    def load_faulty(spec: ModelSpec, progress: Progress) -> Runtime:
        print("loading, says standard output")
        print("and says standard error: \x1b[2J" + "x" * 10_000, file=sys.stderr)
        runtime = load(spec, progress)

        def step() -> list[JobEvent]:
            fault()
            raise AssertionError("the fault let it go on")

        runtime.step = step  # type: ignore[method-assign]
        return runtime

    child.load = load_faulty
    child.main()


if __name__ == "__main__":
    main()
