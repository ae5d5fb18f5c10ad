"""Generators side by side in one worker's step loop: what they bring, how they wait, and how they end."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from predicting import predict_job

from jupyter_streaminfer.inference.faults import HungError
from jupyter_streaminfer.inference.pull import AHEAD_VALUES, MAX_ERROR_CHARACTERS, Pull
from jupyter_streaminfer.inference.runtime import Threaded
from jupyter_streaminfer.inference.yielded import encode
from jupyter_streaminfer.inference.yielding import Yielding
from jupyter_streaminfer.protocol import (
    MAX_MESSAGE_BYTES,
    Admitted,
    Finished,
    JobEvent,
    JobFailed,
    ModelInfo,
    Rejected,
    RunJob,
    Signature,
    Started,
    StreaminferError,
    TensorSpec,
    Yielded,
)
from jupyter_streaminfer.workers.commands import CancelJob, PauseJob, ResumeJob, Stop
from jupyter_streaminfer.workers.loop import StepLoop

WAIT_S = 30


def info(signature: Signature | None = None) -> ModelInfo:
    return ModelInfo("stream", "function", 0, 0, "cpu", "float32", signature=signature)


class Driver:
    """A step loop on a thread, and everything that it told."""

    def __init__(self, runtime: Yielding) -> None:
        self.loop = StepLoop(self._tell)
        self.events: list[JobEvent] = []
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(runtime,))
        self._thread.start()

    def _run(self, runtime: Yielding) -> None:
        try:
            self.loop.run(runtime)
        except HungError as error:
            self.error = error

    def _tell(self, events: list[JobEvent]) -> None:
        with self._changed:
            self.events += events
            self._changed.notify_all()

    def run(self, job: str, inputs: Any = None, client: str = "") -> None:
        self.loop.put(RunJob(job, json.dumps(inputs).encode(), client))

    def of(self, job: str, kind: type = object) -> list[Any]:
        return [event for event in self.events if event.job == job and isinstance(event, kind)]

    def until(self, condition: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), self.events

    def values(self, job: str) -> list[Any]:
        """All that it yields to its end in order."""
        self.until(lambda: self.of(job, Finished | JobFailed | Rejected))
        assert isinstance(self.of(job)[-1], Finished), self.of(job)[-1]
        return [json.loads(event.value) for event in self.of(job, Yielded)]

    def failure(self, job: str) -> JobFailed:
        self.until(lambda: self.of(job, Finished | JobFailed))
        [failed] = self.of(job, JobFailed)
        return failed

    def stop(self) -> None:
        self.loop.put(Stop())
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@contextmanager
def driving(function: Callable[[Any], Any], *, signature: Signature | None = None, **options: Any) -> Iterator[Driver]:
    options = {"max_running": 8, "max_queue": 8, **options}
    driver = Driver(Yielding(function, info(signature), **options))
    try:
        yield driver
    finally:
        driver.stop()


def counting(count: int) -> Iterator[int]:
    yield from range(count)


async def counting_later(count: int) -> Any:
    for value in range(count):
        await asyncio.sleep(0)
        yield value


@pytest.mark.parametrize("function", [counting, counting_later])
def test_everything_comes_in_order(function: Callable[[Any], Any]) -> None:
    with driving(function) as driver:
        for name in "ab":
            driver.run(name, 300)
        for name in "ab":
            assert driver.values(name) == list(range(300))
            assert [type(event) for event in driver.of(name)[:3]] == [Admitted, Started, Yielded]


def test_a_callable_object_and_a_method_may_yield() -> None:
    class Model:
        def __call__(self, inputs: int) -> Iterator[int]:
            yield inputs

    with driving(Model()) as driver:
        driver.run("a", 7)
        assert driver.values("a") == [7]


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_what_is_json_arrives_as_it_was(value: Any) -> None:
    text = encode(value)
    assert json.loads(text) == value
    assert text.startswith(b'"') == isinstance(value, str), "a text is told from a value by its first byte"


def test_numbers_and_arrays_of_numpy_and_torch_become_plain() -> None:
    value = {
        "loss": torch.tensor(0.5, requires_grad=True),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "step": np.int64(3),
        "rows": np.arange(4.0).reshape(2, 2),
        "worst": float("nan"),
    }
    assert json.loads(encode(value)) == {
        "loss": 0.5, "half": [1.0, 1.0], "step": 3, "rows": [[0.0, 1.0], [2.0, 3.0]], "worst": None,
    }  # fmt: skip
    assert encode(np.float32(0.5)) == b"0.5"


class Own:
    pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        (Own(), "internal", "Own"),
        ({"deep": [Own()]}, "internal", "there is a Own in it"),
        (b"bytes", "internal", "yielded a bytes"),
        ("\ud800", "internal", "yielded a str"),
        ("x" * (MAX_MESSAGE_BYTES + 1), "too_large", str(MAX_MESSAGE_BYTES)),
        (np.zeros(MAX_MESSAGE_BYTES, bool), "too_large", "numbers"),
        (torch.zeros(MAX_MESSAGE_BYTES), "too_large", "numbers"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_travel_fails_its_stream_and_says_what_it_was(value: Any, code: str, said: str) -> None:
    def function(inputs: Any) -> Iterator[Any]:
        yield "before"
        yield value
        yield "after"

    with driving(function) as driver:
        driver.run("a")
        failed = driver.failure("a")
        assert failed.error.code == code
        assert said in failed.error.message
        assert [event.value for event in driver.of("a", Yielded)] == [b'"before"']


def test_an_endless_nesting_is_an_error_too() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(StreaminferError, match="cannot be written as JSON"):
        encode(value)


def test_what_it_raises_is_told_without_a_traceback_and_logged_with_one(caplog: pytest.LogCaptureFixture) -> None:
    def function(inputs: Any) -> Iterator[int]:
        yield 1
        if inputs:
            raise MuteError
        raise ValueError("no luck " + "!" * 2 * MAX_ERROR_CHARACTERS)

    with driving(function) as driver, caplog.at_level(logging.ERROR):
        driver.run("a")
        error = driver.failure("a").error
        assert error.code == "internal"
        assert error.message.startswith("The model raised ValueError: no luck !")
        assert len(error.message) < MAX_ERROR_CHARACTERS + 100
        assert __file__ not in error.message
        driver.run("b", True)
        assert driver.failure("b").error.message == "The model raised MuteError."
    assert __file__ in caplog.text


def test_a_refusal_of_its_own_is_passed_on() -> None:
    def function(inputs: Any) -> Iterator[int]:
        if inputs != 1:
            raise StreaminferError("invalid_request", "inputs must be 1", field="inputs")
        yield 1

    with driving(function) as driver:
        driver.run("a", 2)
        assert driver.failure("a").error.field == "inputs"
        driver.run("b", 1)
        assert driver.values("b") == [1]


def test_even_an_exit_ends_its_stream_alone() -> None:
    def function(inputs: Any) -> Iterator[int]:
        yield 1
        if inputs:
            raise SystemExit(3)

    with driving(function) as driver:
        driver.run("a", True)
        assert "SystemExit" in driver.failure("a").error.message
        driver.run("b", False)
        assert driver.values("b") == [1]


def test_a_slow_one_holds_up_no_other() -> None:
    gate = threading.Event()

    def function(inputs: str) -> Iterator[str]:
        if inputs == "slow":
            gate.wait(WAIT_S)
        yield inputs

    with driving(function) as driver:
        driver.run("slow", "slow")
        driver.run("quick", "quick")
        assert driver.values("quick") == ["quick"]
        assert driver.of("slow", Yielded) == []
        gate.set()
        assert driver.values("slow") == ["slow"]


def test_so_many_run_at_once_and_clients_are_served_in_turn() -> None:
    gate = threading.Event()
    running: list[str] = []

    def function(inputs: str) -> Iterator[int]:
        running.append(inputs)
        gate.wait(WAIT_S)
        yield 1

    with driving(function, max_running=1, max_queue=4) as driver:
        for name in ("a1", "a2", "a3"):
            driver.run(name, name, client="a")
        driver.until(lambda: driver.of("a1", Started))
        driver.run("b1", "b1", client="b")
        driver.run("a4", "a4", client="a")
        driver.run("a5", "a5", client="a")
        driver.until(lambda: driver.of("a5", Rejected))
        assert driver.of("a5")[0].error.code == "overloaded"
        assert driver.of("a5")[0].error.retryable
        assert running == ["a1"]
        gate.set()
        driver.until(lambda: driver.of("a4", Finished))
        assert running == ["a1", "b1", "a2", "a3", "a4"] or running == ["a1", "a2", "b1", "a3", "a4"]


def test_it_runs_a_few_values_ahead_and_none_while_paused() -> None:
    pulled = 0
    beat = threading.Semaphore(0)

    def function(inputs: Any) -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            beat.release()
            yield pulled

    with driving(function) as driver:
        driver.run("a")
        driver.until(lambda: driver.of("a", Yielded))
        driver.loop.put(PauseJob("a"))
        driver.run("fence", 0)  # what is told after the pause was obeyed
        driver.until(lambda: driver.of("fence", Admitted))
        told = len(driver.of("a", Yielded))
        driver.loop.put(CancelJob("fence"))
        driver.run("another", 0)
        driver.until(lambda: len(driver.of("another", Yielded)) > 3 * AHEAD_VALUES)
        assert len(driver.of("a", Yielded)) == told
        driver.loop.put(CancelJob("another"))
        driver.loop.put(ResumeJob("a"))
        driver.until(lambda: len(driver.of("a", Yielded)) > told + 3 * AHEAD_VALUES)


def test_nobody_takes_so_it_waits() -> None:
    """Without steps a generator goes no further than the hand-over holds."""
    pulled = 0
    full = threading.Event()

    def function(inputs: Any) -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            if pulled == AHEAD_VALUES:
                full.set()
            yield pulled

    runtime = Yielding(function, info(), max_running=1, max_queue=1)
    runtime.submit(RunJob("a", b"null"))
    assert [type(event) for event in runtime.step()] == [Started]
    assert full.wait(WAIT_S)
    assert pulled == AHEAD_VALUES
    assert runtime.due_in() == 0
    runtime.close()
    assert pulled == AHEAD_VALUES


@pytest.mark.parametrize("started", [True, False])
def test_a_cancelled_one_is_closed_at_its_next_yield_and_brings_nothing_more(started: bool) -> None:
    closed = threading.Event()

    def function(inputs: Any) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with driving(function, max_running=1) as driver:
        driver.run("a")
        driver.run("b")
        driver.until(lambda: driver.of("a", Yielded))
        if started:
            driver.loop.put(CancelJob("a"))
            assert closed.wait(WAIT_S)
            driver.until(lambda: driver.of("b", Yielded))
        else:
            driver.loop.put(CancelJob("b"))
            driver.run("c")
            driver.loop.put(CancelJob("a"))
            driver.until(lambda: driver.of("c", Yielded))
            assert driver.of("b", Started) == []
        assert driver.of("a", Finished | JobFailed) == []


def test_an_asynchronous_one_is_closed_where_it_waits() -> None:
    waiting, closed = threading.Event(), threading.Event()

    async def function(inputs: Any) -> Any:
        try:
            yield 1
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    with driving(function) as driver:
        driver.run("a")
        assert waiting.wait(WAIT_S)
        driver.loop.put(CancelJob("a"))
        assert closed.wait(WAIT_S)


def test_one_that_never_comes_to_a_yield_is_given_up_and_too_many_are_a_fault() -> None:
    gate = threading.Event()

    def function(inputs: bool) -> Iterator[int]:
        yield 1
        if inputs:
            gate.wait(2 * WAIT_S)

    driver = Driver(Yielding(function, info(), max_running=1, max_queue=4, leave_s=0.01))
    try:
        driver.run("hangs", True)
        driver.until(lambda: driver.of("hangs", Yielded))
        driver.loop.put(CancelJob("hangs"))
        driver.run("next", False)
        assert driver.values("next") == [1]
        assert driver.error is None
        driver.run("hangs too", True)
        driver.until(lambda: driver.of("hangs too", Yielded))
        driver.loop.put(CancelJob("hangs too"))
        driver._thread.join(WAIT_S)
        assert isinstance(driver.error, HungError)
    finally:
        gate.set()
        driver.stop()


def test_a_thread_that_is_not_to_be_had_fails_its_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Yielding(counting, info(), max_running=1, max_queue=4)
    runtime.submit(RunJob("a", b"1"))
    with monkeypatch.context() as patch:
        patch.setattr(Pull, "start", _no_thread)
        [failed] = runtime.step()
    assert isinstance(failed, JobFailed)
    assert (failed.error.code, failed.error.retryable) == ("overloaded", True)
    runtime.submit(RunJob("b", b"1"))
    assert [type(event) for event in runtime.step()] == [Started]
    runtime.close()


def _no_thread(pull: Pull) -> None:
    raise RuntimeError("can't start new thread")


def test_stopping_closes_what_runs() -> None:
    closed = threading.Event()

    def function(inputs: Any) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with driving(function) as driver:
        driver.run("a")
        driver.until(lambda: driver.of("a", Yielded))
    assert closed.is_set()


def test_what_is_no_run_or_no_json_is_refused() -> None:
    runtime = Yielding(counting, info(), max_running=1, max_queue=4)
    for job, field in (
        (predict_job("a", [[1.0]]), "model"),
        (RunJob("b", b"{"), "inputs"),
        (RunJob("c", b"\xff"), "inputs"),
    ):
        refused = runtime.submit(job)
        assert isinstance(refused, Rejected)
        assert (refused.error.code, refused.error.field) == ("invalid_request", field)
    assert isinstance(runtime.submit(RunJob("d", b"1")), Admitted)
    assert isinstance(runtime.submit(RunJob("d", b"1")), Rejected)
    stats = runtime.stats()
    assert (stats.running, stats.waiting) == (0, 1)
    assert isinstance(runtime, Threaded), "or nobody would be woken by what it brings"


def test_a_signature_is_kept_to() -> None:
    seen: list[Any] = []

    def function(inputs: Any) -> Iterator[int]:
        seen.append(inputs)
        yield len(inputs)

    with driving(function, signature=Signature([TensorSpec("x", "float32", [2])])) as driver:
        driver.run("good", [[1, 2], [3, 4]])
        driver.run("bad", [[1, 2, 3]])
        assert driver.values("good") == [2]
        driver.until(lambda: driver.of("bad", Rejected))
        assert driver.of("bad")[0].error.field == "inputs"
    assert seen[0].dtype == np.float32
    assert seen[0].tolist() == [[1, 2], [3, 4]]
