"""How jobs reach a worker again after it was lost: one at a time, so that the one which ends workers is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.dispatch import Dispatch
from jupyter_streaminfer.protocol import Admitted, ErrorInfo, Finished, Job, JobEvent, PredictJob, Tokens

LOST = ErrorInfo("worker_lost", "It was lost.")


class Worker:
    """Has jobs and brings what the test says."""

    placement = "test"

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        """The name of the task of each job that it has."""

    def submit(self, job: Job) -> None:
        self.jobs[job.job] = job.job.partition(".")[0]

    def cancel(self, job: str) -> None:
        del self.jobs[job]


class Task:
    def __init__(self, name: str, dispatch: Dispatch) -> None:
        self.name, self.dispatch = name, dispatch
        self.strikes = 0
        self.events: list[JobEvent] = []
        self.refused = False
        self.ended = False

    def next_job(self, attempt: str) -> Job:
        return PredictJob(f"{self.name}.{attempt}", b"[]")

    def on_event(self, event: JobEvent) -> None:
        self.events.append(event)
        if isinstance(event, Finished):
            self.ended = True
            self.dispatch.ended(self)

    def on_lost(self, error: ErrorInfo) -> None:
        pass

    def on_poison(self, error: ErrorInfo) -> None:
        self.refused = True


def test_without_a_loss_everything_is_sent_at_once() -> None:
    worker = Worker()
    dispatch = Dispatch(worker)
    for name in "abc":
        dispatch.submit(Task(name, dispatch))
    assert list(worker.jobs.values()) == ["a", "b", "c"]


def test_after_a_loss_the_next_is_sent_when_the_one_before_brought_something() -> None:
    dispatch = Dispatch(Worker())
    for name in "abc":
        dispatch.submit(Task(name, dispatch))
    dispatch.lost(LOST)
    dispatch.submit(Task("late", dispatch))
    worker = Worker()
    dispatch.restarted(worker)
    for count in range(1, 5):
        assert len(worker.jobs) == count
        job = list(worker.jobs)[-1]
        dispatch.on_events([Admitted(job, 1)])
        assert len(worker.jobs) == count, "an admission proves nothing"
        dispatch.on_events([Tokens(job, [1], "x")])
    assert list(worker.jobs.values()) == ["a", "b", "c", "late"]


def test_what_an_old_job_brings_late_is_not_taken() -> None:
    worker = Worker()
    dispatch = Dispatch(worker)
    task = Task("a", dispatch)
    dispatch.submit(task)
    (old,) = worker.jobs
    dispatch.send_again(task)
    dispatch.on_events([Tokens(old, [1], "x")])
    assert not task.events
    assert list(worker.jobs) != [old]


@given(
    begins=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    lengths=st.lists(st.integers(1, 4), min_size=12, max_size=12),
    poison=st.sets(st.integers(0, 11), max_size=3),
    cancelled=st.sets(st.integers(0, 11), max_size=2),
)
def test_poison_is_found_and_nobody_else_is_refused(
    begins: list[int], lengths: list[int], poison: set[int], cancelled: set[int]
) -> None:
    """Some tasks end every worker as soon as it computes them; others bring a token a step, and end after some."""
    worker = Worker()
    dispatch = Dispatch(worker)
    tasks = [Task(str(index), dispatch) for index in range(len(begins))]
    losses = 0
    for step in range(100):
        for index, task in enumerate(tasks):
            if begins[index] == step:
                dispatch.submit(task)
        if any(int(name) in poison for name in worker.jobs.values()):
            losses += 1
            dispatch.lost(LOST)
            for index in cancelled & set(range(len(tasks))):
                if begins[index] <= step and not tasks[index].ended:
                    dispatch.cancel(tasks[index])
                    tasks[index].ended = True
            worker = Worker()
            dispatch.restarted(worker)
            continue
        for job, name in list(worker.jobs.items()):
            if len(tasks[int(name)].events) + 1 == lengths[int(name)]:
                del worker.jobs[job]
                dispatch.on_events([Finished(job, "stop")])
            else:
                dispatch.on_events([Tokens(job, [1], "x")])
    assert not dispatch.tasks
    for index, task in enumerate(tasks):
        assert task.ended or task.refused
        assert not task.refused or index in poison
    assert losses <= 3 * len(poison)
