"""Plots: what they show is what is in their frames."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from jupyter_streaminfer.client import Client, RouteReport, plots
from jupyter_streaminfer.client.plots.style import MAX_SERIES, label
from jupyter_streaminfer.protocol import Arm, ArmStatus, Interval, Route, RouteStatus, StreaminferError

WAIT_S = 60
QUANTILES = ("p50", "p95", "p99")


def drawn(figure: Figure) -> Figure:
    """The figure, once it could be saved."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def legend(axes: Any) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def samples(count: int = 60, **changes: Any) -> pd.DataFrame:
    """A frame as ``client.metrics.to_frame`` gives it, with the columns that are drawn."""
    index = pd.date_range("2026-01-01", periods=count, freq="s", tz="UTC", name="at")
    figures: dict[str, Any] = {f"{name}_count": 5 for name in ("ttft", "itl")} | {"predict_count": 0}
    for name in ("ttft", "itl", "predict"):
        figures |= {f"{name}_{quantile}_ms": place + 1.0 for place, quantile in enumerate(QUANTILES)}
    return pd.DataFrame(
        figures | {"tokens_out_per_s": 10.0, "open": 1, "requests": 1, "swaps": 0} | changes, index=index
    )


def test_distributions_are_those_of_the_frame() -> None:
    times = np.arange(1.0, 101.0)
    frame = pd.DataFrame({"model": ["a"] * 100 + ["b"] * 100, "ttft_ms": [*times, *(2 * times)], "itl_ms": np.nan})
    left, right = drawn(plots.distributions(frame)).axes
    assert legend(left) == ["a: 50, 95, 99 ms", "b: 100, 190, 198 ms"]
    x, y = lines(left)["a: 50, 95, 99 ms"]
    assert y[x.index(37.0)] == 0.37
    assert [text.get_text() for text in right.texts] == ["nothing measured"]


def test_a_long_tail_is_left_out_and_counted() -> None:
    frame = pd.DataFrame({"model": "a", "ttft_ms": [1.0] * 999 + [1e6], "itl_mean_ms": 1.0})
    left, right = drawn(plots.distributions(frame)).axes
    assert left.get_xlim()[1] < 10
    assert "1 of 1,000 longer" in left.get_legend().get_title().get_text()
    assert "stream" in right.get_xlabel()


def test_what_is_compared_has_to_be_a_column() -> None:
    with pytest.raises(StreaminferError, match="no column 'nonsense'"):
        plots.distributions(pd.DataFrame({"model": []}), by="nonsense")


def test_no_more_is_compared_than_can_be_told_apart() -> None:
    frame = pd.DataFrame({"model": [f"m{number:02}" for number in range(30)], "ttft_ms": 1.0, "itl_ms": 1.0})
    assert len(legend(drawn(plots.distributions(frame)).axes[0])) == MAX_SERIES


def test_names_cannot_break_a_picture() -> None:
    names = ["_hidden", "$\\frac{", "a\nb", "x" * 10_000, "<b>", ""]
    frame = pd.DataFrame({"model": names, "ttft_ms": 1.0, "itl_ms": 1.0})
    assert len(legend(drawn(plots.distributions(frame)).axes[0])) == len(names)
    assert all(len(label(name)) <= 45 for name in names)


def test_time_has_a_line_each_quantile_and_a_mark_at_a_swap() -> None:
    frame = samples(swaps=[0] * 30 + [1] * 30)
    ttft, itl, rate = drawn(plots.over_time(frame)).axes
    assert legend(ttft) == legend(itl) == list(QUANTILES)
    assert lines(ttft)["p99"][1] == [3.0] * 60
    assert [text.get_text() for text in ttft.texts] == ["swap"]
    assert ttft.texts[0].xy[0] == frame.index[30]
    assert legend(rate) == []


def test_time_by_version_shows_before_and_after() -> None:
    before = samples(requests=range(1, 61)).assign(model="m", version="1", arm="")
    after = samples(ttft_p50_ms=0.5, requests=[0] * 40 + [1] * 20).assign(model="m", version="2", arm="")
    ttft, _, rate = drawn(plots.over_time(pd.concat([before, after]))).axes
    assert legend(ttft) == ["1 p50", "1 p95", "2 p50", "2 p95"]
    assert lines(ttft)["2 p50"][1] == [0.5] * 60
    assert [(text.get_text(), text.xy[0]) for text in ttft.texts] == [("version 2", after.index[40])]
    assert legend(rate) == ["1", "2"]


def test_predictions_have_a_panel_where_there_were_any() -> None:
    assert len(drawn(plots.over_time(samples(predict_count=3))).axes) == 4


def test_load_is_the_median_of_what_was_open() -> None:
    frame = samples(open=[0] * 10 + [1] * 25 + [2] * 25, ttft_p95_ms=[99.0] * 10 + [4.0] * 25 + [8.0] * 25)
    ttft, _, rate = drawn(plots.against_load(frame)).axes
    assert lines(ttft)["p95"] == ([1, 2], [4.0, 8.0])
    assert rate.get_ylabel() == "tokens/s"


def test_arms_with_their_intervals() -> None:
    measured = ArmStatus("1", 0.9, "arm", 90, 9, 0, Interval(0.9, 0.82, 0.94), Interval(0.1, 0.05, 0.18))
    report = RouteReport.of(
        RouteStatus(Route([Arm("1", 0.9), Arm("2", 0.1)]), [measured, ArmStatus("2", 0.1, "arm", 0, 0)])
    )
    latency, errors, share = drawn(report.plot()).axes
    assert [text.get_text() for text in latency.texts] == ["nothing measured"]
    assert errors.patches[0].get_width() == 10.0
    whiskers = errors.collections[0].get_segments()[0]
    assert whiskers[:, 0].tolist() == pytest.approx([5.0, 18.0])
    assert [text.get_text() for text in latency.get_yticklabels()] == [
        "version 1\n90 requests",
        "version 2\n0 requests",
    ]
    assert len({patch.get_hatch() for patch in share.patches}) == 2, "told apart in grey print"


@pytest.mark.parametrize("count", [0, 1])
def test_little_or_nothing_is_a_picture_too(count: int) -> None:
    frame = samples(count)
    drawn(plots.over_time(frame))
    drawn(plots.over_time(frame.assign(model="m", version="1", arm="")))
    drawn(plots.against_load(frame))
    drawn(
        plots.distributions(pd.DataFrame({"model": ["a"] * count, "ttft_ms": [1.0] * count, "itl_ms": [1.0] * count}))
    )
    drawn(plots.timeline(pd.DataFrame({"at_ms": [1.0] * count})))
    drawn(RouteReport.of(RouteStatus(Route([Arm("1", 1.0)]), [ArmStatus("1", 1.0, "arm", 0, 0)] * count)).plot())


def test_what_a_client_measured(embedded_client: Client) -> None:
    client = embedded_client
    stream = client.generate("tiny", "The", max_tokens=16, ignore_eos=True).wait(WAIT_S)
    assert len(lines(drawn(stream.plot()).axes[1])["p50 " + f"{stream.timings.itl_ms.p50:.1f} ms"]) == 2
    drawn(client.streams.plot())
    drawn(client.streams.plot([stream], by="stream"))
    drawn(client.metrics.plot())
    drawn(client.metrics.plot("load"))
    drawn(client.metrics.plot(model="tiny"))
    with pytest.raises(StreaminferError, match="kind"):
        client.metrics.plot("nonsense")  # type: ignore[arg-type]


def test_a_load_test(embedded_client: Client) -> None:
    test = embedded_client.bench("tiny", (1, 2), requests=2, prompt_tokens=4, output_tokens=4)
    frame = test.to_frame()
    assert frame["open"].tolist() == [1, 2]
    assert frame["ttft_p50_ms"].tolist() == [report.ttft_ms.p50 for report in test]
    assert (frame["tokens_out_per_s"] > 0).all()
    assert lines(drawn(test.plot()).axes[0])["p50"][0] == [1, 2]
    assert repr(test).count("TTFT") == 2
