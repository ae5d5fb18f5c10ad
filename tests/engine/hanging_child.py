"""A worker process whose load never comes to an end."""

import threading

from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.workers import ModelSpec, child
from jupyter_streaminfer.workers.progress import Progress


def hang(spec: ModelSpec, progress: Progress) -> Runtime:
    progress("reading", 1, 2)
    threading.Event().wait()
    raise AssertionError("nobody sets it")


if __name__ == "__main__":
    child.load = hang
    child.main()
