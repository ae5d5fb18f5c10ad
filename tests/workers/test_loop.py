"""The step loop alone: what one delivery brings is done in its order, also where jobs are taken together."""

from __future__ import annotations

from pathlib import Path

import pytest
from predicting import predict_job, rows

import jupyter_streaminfer
from jupyter_streaminfer.protocol import JobEvent, ModelSettings, Predicted, PredictJob, Rejected
from jupyter_streaminfer.workers.commands import CancelJob, Configure, Stop
from jupyter_streaminfer.workers.loop import StepLoop

DIGITS = Path(jupyter_streaminfer.__file__).parent / "models" / "digits"


def image(value: float) -> list[list[float]]:
    return [[value] * 64]


@pytest.mark.parametrize("late", [False, True])
def test_jobs_and_commands_are_taken_in_their_order(late: bool) -> None:
    """A cancel between two jobs of one name means the first of them."""
    from jupyter_streaminfer.inference.load import load_runtime

    runtime = load_runtime(DIGITS, threads=1, max_wait_ms=0.0)
    told: dict[str, JobEvent] = {}

    def tell(events: list[JobEvent]) -> None:
        told.update({event.job: event for event in events})
        if len(told) == 4:
            loop.put(Stop())

    loop = StepLoop(tell, late=late)
    loop.put_all(
        [
            predict_job("a", image(1.0)),
            predict_job("gone", image(1.0)),
            None,
            CancelJob("a"),
            CancelJob("gone"),
            predict_job("a", image(9.0)),
            Configure(ModelSettings(max_batch_size=2)),
            predict_job("b", image(9.0) + image(1.0)),
            PredictJob("bad", b"[[1]]"),
            predict_job("c", image(1.0)),
        ]
    )
    loop.run(runtime)
    assert set(told) == {"a", "b", "bad", "c"}
    assert isinstance(told["bad"], Rejected)
    found = {name: rows(event) for name, event in told.items() if isinstance(event, Predicted)}
    confidences = {name: [answer["confidence"] for answer in answers] for name, answers in found.items()}
    assert confidences["b"] == pytest.approx([*confidences["a"], *confidences["c"]])
    assert confidences["a"] != pytest.approx(confidences["c"])
    assert loop.steps == 2
