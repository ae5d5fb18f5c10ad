"""A server that starts a worker process, prints its id, and is then killed by the test.

Arguments: the model's folder; what the worker does meanwhile (``idle``, ``compute``, or a fault of `faulty_child`);
``fork`` where a fork of the server shall outlive it, whose id is printed, too.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from worker_log import Log, job

from jupyter_streaminfer.protocol import Admitted
from jupyter_streaminfer.workers import ModelSpec, ProcessWorker


async def main(folder: str, work: str, *fork: str) -> None:
    worker, log = ProcessWorker(ModelSpec("orphan", "1", Path(folder))), Log()
    if work not in ("idle", "compute"):
        worker.program = (str(Path(__file__).with_name("faulty_child.py")), work)  # type: ignore[misc]
    await worker.start(log.events, log.death)
    if work != "idle":
        worker.submit(job("j", 16_000))
        await log.until(Admitted, 1)
    forked = 0
    if fork and (forked := os.fork()) == 0:
        signal.pause()
    print(worker.pid, forked, flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
