"""Progress of a training: counted, logged, ended in every way."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets import Progress
from jupyter_streaminfer.widgets.training_log import POINTS, TrainingLog

TIMEOUT_S = 30


def quiet(epochs: int, **options: Any) -> Progress:
    return Progress(epochs, show=False, **options)


def until(reached: Any) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_a_training_is_counted_and_its_figures_are_kept() -> None:
    with quiet(3) as progress:
        for epoch in progress:
            for step, batch in enumerate(progress.track([10, 20]), 1):
                progress.log(loss=batch / epoch)
                assert (progress._step, progress._steps) == (step, 2)
            progress.log({"val/loss": np.float32(1 / epoch)}, accuracy=1 - 1 / epoch)
    assert (progress.state, progress.epoch, progress.share, progress.left_s) == ("completed", 3, 1.0, None)
    frame = progress.to_frame()
    assert list(frame.columns) == ["epoch", "step", "seconds", "loss", "val/loss", "accuracy"]
    assert frame["epoch"].tolist() == [1] * 3 + [2] * 3 + [3] * 3
    assert frame["step"].tolist() == [1, 2, 0] * 3
    assert frame["loss"].dropna().tolist() == [10, 20, 5, 10, 10 / 3, 20 / 3]
    assert frame["seconds"].is_monotonic_increasing
    loss, validation, accuracy = progress.series
    assert loss["points"] == [(0.5, 10), (1, 20), (1.5, 5), (2, 10), (2.5, 10 / 3), (3, 20 / 3)]
    assert [at for at, _ in validation["points"]] == [1, 2, 3]
    assert (accuracy["latest"], accuracy["least"], accuracy["greatest"]) == (1 - 1 / 3, 0, 1 - 1 / 3)


def test_batches_of_which_nobody_knows_how_many_there_are() -> None:
    with quiet(2) as progress:
        for _ in progress:
            for _ in progress.track(iter([1, 2, 3, 4])):
                progress.log(loss=1.0)
    assert [at for at, _ in progress.series[0]["points"]] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


def test_what_is_left_is_told_from_what_is_gone() -> None:
    with quiet(4) as progress:
        for epoch in progress:
            if epoch == 3:
                progress._put()
                assert progress.share == 0.5
                assert progress.left_s == pytest.approx(progress.elapsed_s)


def test_an_error_is_shown_and_raised_on() -> None:
    progress = quiet(3)

    def train() -> None:
        with progress:
            for epoch in progress:
                if epoch == 2:
                    raise ValueError("boom <b>")

    with pytest.raises(ValueError, match="boom"):
        train()
    assert (progress.state, progress.error) == ("failed", "ValueError: boom <b>")
    assert progress.text().splitlines()[0] == "Training: 1 of 3 epochs, failed"
    assert "boom &lt;b&gt;" in progress.html()


def test_an_interrupt_and_an_early_end_are_told_apart() -> None:
    interrupted, stopped = quiet(3), quiet(3)

    def train() -> None:
        with interrupted:
            for _ in interrupted:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    with stopped:
        for _ in stopped:
            break
    assert (interrupted.state, stopped.state) == ("interrupted", "stopped")
    alone = quiet(2)
    for _ in alone:
        assert alone.state == "running"
    assert alone.state == "completed"


@pytest.mark.parametrize("figures", [{"loss": "low"}, {"loss": [1, 2]}, {"loss": None}, {"": 1.0}, {"x" * 61: 1.0}])
def test_what_is_no_figure_is_refused(figures: dict[str, Any]) -> None:
    progress = quiet(1)
    with pytest.raises(StreaminferError, match="log"):
        progress.log(figures)
    assert len(progress.to_frame()) == 0


def test_a_thousand_names_are_refused_and_a_loss_that_is_not_finite_is_said_to_be_so() -> None:
    progress = quiet(1)
    with pytest.raises(StreaminferError, match="32"):
        progress.log({f"figure {number}": 1.0 for number in range(1000)})
    progress.log(loss=2.0)
    progress.log(loss=math.nan)
    progress._put()
    assert progress.series[0] == {"name": "loss", "latest": None, "least": 2.0, "greatest": 2.0, "points": [(0, 2.0)]}
    assert "loss nan" in progress.text()
    with pytest.raises(StreaminferError, match="epochs"):
        Progress(0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000))
def test_a_long_series_keeps_its_least_its_greatest_and_its_order(values: list[float]) -> None:
    log = TrainingLog()
    for step, value in enumerate(values, 1):
        log.add(1, step, 0.0, {"loss": value})
    log.count(1, len(values))
    [series] = log.series()
    assert len(series.points) <= max(POINTS, 1)
    drawn = [value for _, value in series.points]
    assert (min(drawn), max(drawn)) == (min(values), max(values)) == (series.least, series.greatest)
    at = [round(each * len(values)) - 1 for each, _ in series.points]
    assert at == sorted(at)
    assert all(values[place] == value for place, (_, value) in zip(at, series.points, strict=True))


def test_updates_are_few_and_the_last_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(Progress, "send_state", lambda self, key=None: sent.append(key))
    with quiet(1) as progress:
        for _ in progress:
            for _ in progress.track(range(2000)):
                progress.log(loss=0.5)
    seconds = progress.elapsed_s
    assert len(sent) <= 10 + 10 * seconds
    assert progress.series[0]["points"][-1] == (1.0, 0.5)


def test_what_is_logged_last_before_a_long_step_is_shown() -> None:
    with quiet(2) as progress:
        for epoch in progress:
            progress.log(loss=float(epoch))
            until(lambda epoch=epoch: progress.series and progress.series[0]["latest"] == epoch)


def test_samples_are_texts_predictions_and_streams_as_they_come(client: Client) -> None:
    client.load("digits")
    progress = quiet(1)
    with progress:
        for _ in progress:
            progress.sample("<b>said</b>", "a text")
            answers = progress.sample(client.predict("digits", np.zeros((2, 64))), "two digits")
            stream = progress.sample(client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True), "The")
            until(lambda: progress.samples and len(progress.samples[0]["text"]) > 10)
            assert progress.samples[0]["state"] == "streaming"
    stream.cancel()
    until(lambda: progress.samples[0]["state"] == "cancelled")
    growing, predicted, text = progress.samples
    assert growing["text"][:500] == stream.text[:500]
    assert predicted["text"].splitlines()[0].startswith(f"0: {answers[0].label} (")
    assert (text["epoch"], text["label"], text["text"]) == (1, "a text", "<b>said</b>")
    assert [sample.label for sample in progress.taken] == ["a text", "two digits", "The"]
    assert "<b>" not in progress.html()


def test_a_script_gets_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, title="digits") as progress:
        for epoch in progress:
            progress.log(loss=1 / epoch)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("digits: epoch 1/2 · loss 1 · ")
    assert lines[-1].startswith("digits: epoch 2/2 · loss 0.5 · done after ")
    assert len(lines) == 3
