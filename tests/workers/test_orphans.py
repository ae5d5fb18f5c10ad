"""No worker process outlives its server, however that dies."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a stranger's death is awaited as Linux has it")


@pytest.mark.parametrize("how", [["idle"], ["compute"], ["stall"], ["hold"], ["idle", "fork"], ["compute", "fork"]])
def test_a_killed_server_takes_its_worker_along(long_llama: Path, how: list[str]) -> None:
    """``hold``: native code keeps the interpreter, so nothing in Python can notice. ``fork``: the connection stays."""
    script = Path(__file__).with_name("orphan_server.py")
    arguments = [sys.executable, str(script), str(long_llama), *how]
    server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    worker, forked = map(int, server.stdout.readline().split())
    handle = os.pidfd_open(worker)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert not poll.poll(0)
        server.kill()
        server.wait()
        assert poll.poll(20_000), "the worker process is still there"
    finally:
        os.close(handle)
        server.stdout.close()
        if forked:
            os.kill(forked, signal.SIGKILL)
