"""The process placement: what kills a worker, what it leaves behind, and what it may not take."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from worker_log import NAME, Log, Make, job, until

from jupyter_streaminfer.protocol import Finished, StreaminferError, Tokens
from jupyter_streaminfer.workers import ModelBounds, ModelSpec, ProcessWorker, process
from jupyter_streaminfer.workers.channel import Loopback
from jupyter_streaminfer.workers.messages import Heartbeat
from jupyter_streaminfer.workers.watch import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's")


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize(
    ("sent", "said"), [(signal.SIGKILL, "killed by SIGKILL (out of memory?)"), (signal.SIGSEGV, "killed by SIGSEGV")]
)
async def test_a_death_is_told_once_with_its_signal(
    make_child: Make, long_llama: Path, sent: signal.Signals, said: str
) -> None:
    worker, log = make_child(long_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 16_000))
    await log.until(Tokens, 3)
    pid = worker.pid
    os.kill(pid, sent)
    reason = await log.until_death()
    count = len(log.all())
    assert said in str(reason)
    assert reason.restartable
    await worker.stop()
    assert (len(log.deaths), len(log.all()), worker.pid) == (1, count, None)
    assert pid not in children()


async def test_a_native_crash_names_its_place(faulty: Make, tiny_llama: Path) -> None:
    worker, log = faulty("crash", tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 5))
    reason = await log.until_death()
    assert "killed by SIGSEGV" in str(reason)
    assert "(it last wrote: " in str(reason)


async def test_what_the_process_writes_is_logged(
    faulty: Make, tiny_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker, log = faulty("crash", tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 5))
    await log.until_death()
    lines = [record.getMessage() for record in caplog.records if record.name == "jupyter_streaminfer.worker"]
    assert f"{NAME}: loading, says standard output" in lines
    (long,) = [line for line in lines if line.startswith(f"{NAME}: and says standard error: ?[2Jxxx")]
    assert long.endswith(" ...")
    assert len(long) < 2100
    assert any("Fatal Python error: Segmentation fault" in line for line in lines)


async def test_a_death_while_loading_is_the_starts_error(make_child: Make, tiny_llama: Path) -> None:
    worker, log = make_child(tiny_llama), Log()
    start = asyncio.create_task(worker.start(log.events, log.death))
    before = children()
    await until(lambda: children() - before)
    (born,) = children() - before
    os.kill(born, signal.SIGKILL)
    with pytest.raises(StreaminferError) as refusal:
        await start
    assert (refusal.value.code, refusal.value.info.retryable) == ("worker_lost", True)
    assert "SIGKILL" in str(refusal.value)
    assert log.deaths == []


async def test_a_program_that_cannot_run(tiny_llama: Path) -> None:
    class Nothing(ProcessWorker):
        program = ("-c", "raise SystemExit('nothing to see')")

    for loopback in (False, True):
        log = Log()
        with pytest.raises(StreaminferError, match=r"status 1.*nothing to see"):
            await Nothing(ModelSpec(NAME, "1", tiny_llama), loopback=loopback).start(log.events, log.death)


async def test_a_step_that_never_ends_is_a_loss(faulty: Make, tiny_llama: Path) -> None:
    worker, log = faulty("stall", tiny_llama, heartbeat_s=0.05, stall_s=1.0), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 5))
    reason = await log.until_death()
    assert "not finished a step in 1 s" in str(reason)
    await worker.stop()
    assert len(log.deaths) == 1


async def test_idle_is_no_stall(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[Heartbeat] = []
    look = Watch.beat

    def count(self: Watch, beat: Heartbeat) -> None:
        beats.append(beat)
        look(self, beat)

    monkeypatch.setattr(Watch, "beat", count)
    worker, log = ProcessWorker(ModelSpec(NAME, "1", tiny_llama), heartbeat_s=0.1, stall_s=0.3), Log()
    await worker.start(log.events, log.death)
    seen = len(beats)
    await until(lambda: len(beats) > seen + 10)
    worker.submit(job("j", 5))
    await log.until(Finished, 1)
    await worker.stop()
    assert log.deaths == []


async def test_a_process_that_hangs_is_a_loss(faulty: Make, long_llama: Path) -> None:
    """Stopped as a whole, or held by native code that never lets go of the interpreter."""
    stopped, log = ProcessWorker(ModelSpec(NAME, "1", long_llama), heartbeat_s=0.2), Log()
    await stopped.start(log.events, log.death)
    stopped.submit(job("j", 16_000))
    await log.until(Tokens, 3)
    pid = stopped.pid
    os.kill(pid, signal.SIGSTOP)
    assert "no heartbeat for 2 s" in str(await log.until_death())
    await stopped.stop()
    assert pid not in children()

    held, log = faulty("hold", long_llama, heartbeat_s=0.2), Log()
    await held.start(log.events, log.death)
    held.submit(job("j", 5))
    assert "no heartbeat for 2 s" in str(await log.until_death())


async def test_stopping_a_process_that_does_not_listen(make_child: Make, long_llama: Path) -> None:
    worker, log = make_child(long_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 16_000))
    await log.until(Tokens, 3)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    await asyncio.wait_for(worker.stop(), 8)
    assert pid not in children()
    assert log.deaths == []


async def test_a_loop_that_was_held_up_loses_nobody(long_llama: Path) -> None:
    """Heartbeats are counted, not timed: it is this process that did not listen."""
    worker, log = ProcessWorker(ModelSpec(NAME, "1", long_llama), heartbeat_s=0.05), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 100))
    await log.until(Tokens, 3)
    time.sleep(2)  # noqa: ASYNC251
    await log.until(Finished, 1)
    assert log.deaths == []
    await worker.stop()


async def test_memory_is_bounded_while_loading(tiny_llama: Path, long_llama: Path) -> None:
    bounds = ModelBounds(memory_bytes=2 * 2**30, cache_bytes=8 * 2**30, max_batch_size=512)
    worker, log = ProcessWorker(ModelSpec(NAME, "1", long_llama, bounds=bounds)), Log()
    with pytest.raises(StreaminferError, match="memory_bytes = 2147483648"):
        await worker.start(log.events, log.death)
    await worker.stop()


async def test_memory_is_bounded_while_computing(faulty: Make, tiny_llama: Path) -> None:
    """The worker dies of a thing that would else have been the machine's."""
    worker, log = faulty("hungry", tiny_llama, ModelBounds(memory_bytes=2 * 2**30)), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 5))
    reason = await log.until_death()
    assert "MemoryError" in str(reason)
    assert reason.restartable


async def test_the_process_yields_and_knows_no_secret(
    make_child: Make, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_TOKEN", "JUPYTER_STREAMINFER_SECRET", "JPY_API_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    worker, log = make_child(tiny_llama), Log()
    await worker.start(log.events, log.death)
    process = psutil.Process(worker.pid)
    environment = process.environ()
    assert "hush" not in environment.values()
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["PATH"] == os.environ["PATH"]
    lower = min(19, psutil.Process().nice() + 10)
    assert {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads()} == {lower}
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    folder = Path(f"/proc/{worker.pid}")
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int((folder / "oom_score_adj").read_text()) == min(1000, ours + 500)
    os.kill(worker.pid, signal.SIGINT)
    worker.submit(job("j", 5))
    await log.until(Finished, 1)
    assert log.deaths == []


async def test_a_notebooks_files_are_not_imported(
    make_process: Make, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's working directory is where notebooks lie, and with them files of any name."""
    for name in ("random.py", "torch.py", "msgspec.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    worker, log = make_process(tiny_llama), Log()
    await worker.start(log.events, log.death)


async def test_the_process_runs_this_very_package(tiny_llama: Path, tmp_path: Path) -> None:
    """Another copy of it, further down the path, was once what the process ran."""
    other = tmp_path / "jupyter_streaminfer"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('the wrong copy')")
    sys.path.append(str(tmp_path))
    try:
        worker, log = ProcessWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
        await worker.start(log.events, log.death)
        await worker.stop()
    finally:
        sys.path.remove(str(tmp_path))


async def test_a_stranger_on_the_loopback_is_not_let_in(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Loopback):
        def __init__(self) -> None:
            super().__init__()
            channels.append(self)

    channels: list[Watched] = []
    monkeypatch.setattr(process, "Loopback", Watched)
    worker, log = ProcessWorker(ModelSpec(NAME, "1", tiny_llama), loopback=True), Log()
    start = asyncio.create_task(worker.start(log.events, log.death))
    await until(lambda: channels)
    async with asyncio.timeout(30):
        port = int(channels[0].argument.partition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\0" * 32)
        assert await reader.read() == b""
        writer.close()
    assert (await start).task == "generate"
    await worker.stop()


async def test_what_the_server_reads_wakes_nobody(make_process: Make, long_llama: Path) -> None:
    """The thread that waits for commands was woken for each token, when the server had read it; that took a core from
    those that compute.
    """
    tokens = 300
    worker, log = make_process(long_llama, threads=1), Log()
    await worker.start(log.events, log.death)
    process = psutil.Process(worker.pid)
    before = waits(process)
    worker.submit(job("j", tokens))
    await log.until(Finished, 1)
    after = waits(process)
    others = [count - before.get(thread, 0) for thread, count in after.items() if thread != process.pid]
    assert max(others) < tokens // 3


def waits(process: psutil.Process) -> dict[int, int]:
    """How often each of its threads has gone to sleep."""
    counts = {}
    for thread in process.threads():
        status = Path(f"/proc/{process.pid}/task/{thread.id}/status").read_text()
        counts[thread.id] = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return counts


async def test_nothing_is_left(make_process: Make, tiny_llama: Path) -> None:
    """Neither a process nor a descriptor, after a stop, a death and a load that failed."""
    own = psutil.Process()

    async def round() -> None:
        worker, log = make_process(tiny_llama), Log()
        await worker.start(log.events, log.death)
        worker.submit(job("j", 5))
        await log.until(Finished, 1)
        await worker.stop()
        worker, log = make_process(tiny_llama), Log()
        await worker.start(log.events, log.death)
        worker.submit(job("j", 5))
        await log.until(Finished, 1)
        os.kill(worker.pid, signal.SIGKILL)
        await log.until_death()
        worker, log = make_process(tiny_llama / "nowhere"), Log()
        with pytest.raises(StreaminferError):
            await worker.start(log.events, log.death)
        await worker.stop()

    await round()
    before = own.num_fds(), children()
    await round()
    assert (own.num_fds(), children()) == before
