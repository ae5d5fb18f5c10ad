"""What the engine measures, as a notebook has it: structs, frames, tables."""

from __future__ import annotations

import math
import queue
from typing import Any

import msgspec
import pandas as pd
import pytest

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.alert_table import AlertTable
from jupyter_streaminfer.client.metrics_frame import metrics_frame
from jupyter_streaminfer.client.stream_table import SHOWN, StreamTable
from jupyter_streaminfer.protocol import (
    Alert,
    AlertRule,
    ClientMetrics,
    Distribution,
    ErrorInfo,
    LatencyMetrics,
    Metrics,
    MetricsSample,
    ModelMetrics,
    Outcomes,
    StreaminferError,
    StreamStatus,
    TrafficMetrics,
)

WAIT_S = 60
TTFT = Distribution(3, 12.0, 10.0, 20.0, 21.0, 22.0)
TRAFFIC = TrafficMetrics(tokens_out=7, tokens_out_per_s=3.5, outcomes=Outcomes(completed=2), errors={"overloaded": 4})
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def sample(embedded_client: Client) -> Metrics:
    """One of a real engine, with figures in it that are known."""
    told: queue.Queue[Any] = queue.Queue()
    with embedded_client.metrics.watch(told.put):
        while not isinstance(message := told.get(timeout=WAIT_S), MetricsSample):
            pass
    latencies = LatencyMetrics(ttft_ms=TTFT)
    versions = [
        ModelMetrics(model="tiny", version=version, arm="", traffic=TRAFFIC, latencies=latencies, flushes={"full": 5})
        for version in ("1", "2")
    ]
    return msgspec.structs.replace(
        message.metrics,
        traffic=TRAFFIC,
        latencies=latencies,
        models=versions,
        clients=[ClientMetrics("me", TRAFFIC)],
        odd={"long": 2},
        gpu_utilisation=None,
    )


def test_a_row_a_second_with_flat_columns(sample: Metrics) -> None:
    later = msgspec.structs.replace(sample, at=sample.at + 1, latencies=LatencyMetrics(), gpu_utilisation=0.5)
    frame = metrics_frame([sample, later])
    assert frame.index.name == "at"
    assert str(frame.index.tz) == "UTC"
    assert frame.index[1] - frame.index[0] == pd.Timedelta(seconds=1)
    first = frame.iloc[0]
    assert (first["ttft_count"], first["ttft_mean_ms"], first["ttft_p95_ms"], first["ttft_max_ms"]) == (3, 12, 20, 22)
    assert (first["tokens_out"], first["tokens_out_per_s"], first["completed"]) == (7, 3.5, 2)
    assert (first["errors_overloaded"], first["errors_internal"], first["odd_long"], first["odd_short"]) == (4, 0, 2, 0)
    assert frame["ttft_p50_ms"].isna().tolist() == [False, True]
    assert frame["gpu_utilisation"].isna().tolist() == [True, False]
    assert frame["itl_p99_ms"].isna().all()
    assert frame["alerts"].dtype.kind == frame["errors_overloaded"].dtype.kind == "i"
    assert not {"models", "clients", "at"} & set(frame.columns)


def test_every_figure_of_a_sample_is_in_its_row(sample: Metrics) -> None:
    """A field that is added to the protocol has a column by itself; one of a kind that has none would be missing."""
    full = LatencyMetrics(**dict.fromkeys(LatencyMetrics.__struct_fields__, TTFT))
    traffic = msgspec.structs.replace(TRAFFIC, error_rate=0.25)
    whole = msgspec.structs.replace(
        sample, traffic=traffic, latencies=full, load_ms=TTFT, gpu_utilisation=0.5, gpu_memory_used=0.5
    )
    row = metrics_frame([whole]).iloc[0]
    numbers = [value for name, value in _numbers(msgspec.to_builtins(whole)) if name != "at"]
    assert sorted(row[row != 0].map(float)) == sorted(float(number) for number in numbers if number)


def _numbers(value: Any, name: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in _numbers(each, key)]
    return [(name, value)] if isinstance(value, int | float) else []


def test_rows_by_model_and_by_client(sample: Metrics) -> None:
    later = msgspec.structs.replace(sample, at=sample.at + 1)
    by_model = metrics_frame([sample, later], "model")
    assert by_model["version"].tolist() == ["1", "2", "1", "2"]
    assert by_model.columns[:3].tolist() == ["model", "version", "arm"]
    assert by_model["flushes_full"].tolist() == [5] * 4
    assert by_model["batch_size_p50"].isna().all()
    by_client = metrics_frame([sample, later], "client")
    assert by_client["client"].tolist() == ["me", "me"]
    assert by_client["errors_overloaded"].tolist() == [4, 4]


@pytest.mark.parametrize("by", [None, "model", "client"])
def test_nothing_is_a_frame_too(by: Any, sample: Metrics) -> None:
    empty = metrics_frame([], by)
    assert empty.empty
    assert empty.columns.tolist() == metrics_frame([sample], by).columns.tolist()


def test_history_as_a_frame(client: Client) -> None:
    frame = client.metrics.to_frame(60)
    assert len(frame) == len(frame.index.unique()) <= 61
    assert frame.index.is_monotonic_increasing
    assert client.metrics.history(0) == []
    assert len(client.metrics.history(10**9)) <= 600
    by_model = client.metrics.to_frame(by="model")
    assert {"model", "version", "arm", "ttft_p50_ms"} <= set(by_model.columns)
    assert set(by_model["model"]) <= {model.name for model in client.models()} | {"other"} | set(by_model["model"])
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(StreaminferError, match="seconds"):
            client.metrics.history(wrong)
    with pytest.raises(StreaminferError, match="by: "):
        client.metrics.to_frame(by="version")  # type: ignore[arg-type]


def test_metrics_and_alerts_are_one_line(sample: Metrics) -> None:
    assert "TTFT p50 10.0, p95 20.0 ms" in repr(sample)
    assert "3.5 tokens/s" in repr(sample)
    assert "\n" not in repr(sample)
    alert = Alert("slow\n", AlertRule("ttft_p95_ms", 500), False, True, 612.5, 1.0, 1, "")
    assert repr(alert) == "<'slow\\n': firing, 612.5, bound 500>"
    quiet = msgspec.structs.replace(alert, firing=False, value=None, since=None)
    assert "quiet, nothing measured" in repr(quiet)
    assert "'slow\\n'" in repr(msgspec.structs.replace(sample, alerts=[alert]))


def test_streams_are_a_list_a_table_and_a_frame(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=8, seed=1, ignore_eos=True).wait(WAIT_S)
    listed = client.streams()
    [status] = [each for each in listed if each.stream == stream.id]
    frame = client.streams.to_frame().set_index("stream")
    row = frame.loc[stream.id]
    assert row["model"] == "tiny"
    assert (row["state"], row["finish_reason"], row["error_code"], row["odd"]) == ("completed", "length", "", "")
    assert row["tokens"] == 8
    assert row["ttft_ms"] == pytest.approx(stream.timings.ttft_ms)
    assert row["itl_mean_ms"] == pytest.approx((stream.at_ms[-1] - stream.at_ms[0]) / 7, abs=1e-3)
    assert abs(row["began"] - pd.Timestamp.now(tz="UTC")) < pd.Timedelta(hours=1)
    assert status.stream in listed._repr_html_()
    assert "8 tokens" in repr(status)
    tokens = client.streams.to_frame([stream])
    assert tokens["ttft_ms"].dropna().tolist() == [stream.at_ms[0]]
    assert tokens["itl_ms"].dropna().tolist() == stream.to_frame()["itl_ms"].dropna().tolist()
    assert tokens["seq"].tolist() == stream.to_frame()["seq"].tolist()


def test_hostile_names_are_text_in_tables() -> None:
    status = StreamStatus(
        "st_1", "e", HOSTILE, "1", "failed", 0, 1, 0, False, 5.0, error=ErrorInfo("internal", HOSTILE)
    )
    page = StreamTable([status] * (SHOWN + 1))._repr_html_()
    assert "<img" not in page
    assert "and 1 older" in page
    assert StreamTable().to_frame().empty
    frame = StreamTable([status]).to_frame()
    assert frame.loc[0, "error_code"] == "internal"
    assert frame["ttft_ms"].isna().all()
    alert = Alert(HOSTILE, AlertRule("waiting", 1), True, False, None, None, 0, HOSTILE)
    assert "<img" not in AlertTable([alert])._repr_html_()


def test_alerts_are_set_from_the_notebook(client: Client) -> None:
    try:
        rules = [{"metric": "ttft_p95_ms", "above": 500, "for_s": 10}, AlertRule("loop_lag_ms", 1e9, name="lag")]
        alerts = client.alerts.set(rules)
        assert [alert.rule.metric for alert in alerts] == ["ttft_p95_ms", "loop_lag_ms"]
        assert [alert.name for alert in client.alerts()][1] == "lag"
        assert not any(alert.firing or alert.configured for alert in alerts)
        frame = client.alerts.to_frame()
        assert frame["above"].tolist() == [500, 1e9]
        assert frame["since"].isna().all()
        assert "lag" in alerts._repr_html_()
    finally:
        assert client.alerts.set([]) == []


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"metric": "nonsense", "above": 1}, "metric"),
        ({"metric": "waiting", "above": -1}, "above"),
        ({"metric": "waiting"}, "above"),
        ({"metric": "waiting", "above": 1, "nonsense": 2}, "nonsense"),
        (AlertRule("waiting", math.nan), "above"),
    ],
)
def test_rules_that_cannot_be(client: Client, rule: Any, field: str) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.alerts.set([rule])
    assert field in str(raised.value)


def test_calls_say_what_they_are(client: Client) -> None:
    assert "to_frame()" in repr(client.metrics)
    assert "to_frame()" in repr(client.streams)
    assert "set([...])" in repr(client.alerts)
