"""Alerts: when they begin, when they end, whose figure they look at, and what is no rule."""

import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import row, sample, spread

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.engine.alerts import CALM, CALM_S, Alerts
from jupyter_streaminfer.protocol import (
    MAX_ALERT_RULES,
    Alert,
    AlertMetric,
    AlertRule,
    LatencyMetrics,
    Metrics,
    StreaminferError,
    TrafficMetrics,
)

LAG = AlertRule("loop_lag_ms", above=100.0, for_s=3.0)


class Watched:
    """Alerts and what they told, a sample a second."""

    def __init__(self, *rules: AlertRule) -> None:
        self.told: list[Alert] = []
        self.alerts = Alerts(self.told.append)
        self.alerts.set(rules, configured=False)
        self.now = 0.0

    def look(self, metrics: Metrics) -> Alert:
        """The first alert after one more sample."""
        self.alerts.look(metrics, self.now)
        self.now += 1.0
        return self.alerts.all()[0]

    def lags(self, *figures: float) -> list[bool]:
        """Whether it fires after each of these."""
        return [self.look(sample(loop_lag_ms=each)).firing for each in figures]


def test_it_fires_after_its_time_and_ends_after_some_calm() -> None:
    watched = Watched(LAG)
    assert watched.lags(101, 101, 50, 101, 101, 101) == [False] * 6, "what is between begins the time anew"
    assert watched.lags(101) == [True]
    assert watched.lags(*[50] * round(CALM_S), 50) == [True] * round(CALM_S) + [False]
    assert [(alert.firing, alert.fired) for alert in watched.told] == [(True, 1), (False, 1)]
    assert watched.told[0].since == 1e9
    assert watched.told[1].since is None


def test_a_figure_at_the_bound_does_not_flap() -> None:
    watched = Watched(AlertRule("loop_lag_ms", above=100.0))
    assert watched.lags(100) == [False], "it is not above"
    assert watched.lags(*[101, 99] * 50) == [True] * 100
    assert watched.lags(*[100 * CALM, 100 * CALM, 100 * CALM, 91] * 20) == [True] * 80
    assert len(watched.told) == 1


@given(st.lists(st.floats(0, 200), max_size=60), st.floats(0, 150), st.integers(0, 5))
def test_the_states_are_what_the_past_says(figures: list[float], above: float, for_s: int) -> None:
    """A recount from all that was measured: the last stretch above the bound, or of calm, that was long enough."""
    watched = Watched(AlertRule("loop_lag_ms", above=above, for_s=for_s))
    firing, loud, calm = False, 0, 0
    for each in figures:
        loud = loud + 1 if each > above else 0
        calm = calm + 1 if each <= above * CALM else 0
        firing = calm <= CALM_S if firing else loud > for_s
        assert watched.lags(each) == [firing]
    assert [alert.firing for alert in watched.told] == [index % 2 == 0 for index in range(len(watched.told))]


def test_what_cannot_be_measured_does_not_fire_and_ends_what_does() -> None:
    watched = Watched(AlertRule("ttft_p95_ms", above=10.0))
    slow = sample(latencies=LatencyMetrics(ttft_ms=spread(20.0)))
    assert not watched.look(sample()).firing
    assert watched.look(slow).firing
    states = [watched.look(sample()) for _ in range(round(CALM_S) + 1)]
    assert [state.firing for state in states] == [True] * round(CALM_S) + [False]
    assert states[-1].value is None


ROWS = [
    row("a", "1", ttft_ms=spread(30, 3), itl_ms=spread(20, 2), predict_ms=spread(10, 1), error_rate=0.1),
    row("a", "2", ttft_ms=spread(60, 6), itl_ms=spread(50, 5), predict_ms=spread(40, 4), error_rate=0.3),
    row("b", "1", ttft_ms=spread(90, 9), cache_used=0.5, waiting=7),
    row("b", "2", "arm", cache_used=0.25, waiting=2),
    row("b", "2", "canary", cache_used=0.25, waiting=2),
]
WHOLE = sample(
    *ROWS,
    traffic=TrafficMetrics(error_rate=0.2),
    latencies=LatencyMetrics(ttft_ms=spread(80, 8), itl_ms=spread(45, 4.5), predict_ms=spread(35, 3.5)),
    loop_lag_ms=12.5,
    memory_bytes=2**30,
)


@pytest.mark.parametrize(
    ("metric", "of_all", "of_a", "of_b"),
    [
        ("ttft_p95_ms", 8, 6, 9),
        ("ttft_p99_ms", 80, 60, 90),
        ("itl_p95_ms", 4.5, 5, None),
        ("itl_p99_ms", 45, 50, None),
        ("predict_p95_ms", 3.5, 4, None),
        ("predict_p99_ms", 35, 40, None),
        ("error_rate", 0.2, 0.3, None),
        ("waiting", 9, 0, 7),
        ("cache_used", 0.5, None, 0.5),
    ],
)
def test_a_models_figure_is_the_worst_of_its_versions(
    metric: AlertMetric, of_all: float, of_a: float | None, of_b: float | None
) -> None:
    rules = [AlertRule(metric, 1.0, model=model) for model in (None, "a", "b", "c")]
    watched = Watched(*rules)
    watched.look(WHOLE)
    assert [alert.value for alert in watched.alerts.all()] == [of_all, of_a, of_b, None]


def test_every_figure_is_known_and_said() -> None:
    rules = [AlertRule(metric, 0.0) for metric in get_args(AlertMetric)]
    watched = Watched(*rules)
    for _ in range(2):
        watched.look(WHOLE)
    alerts = watched.alerts.all()
    assert all(alert.firing for alert in alerts)
    assert watched.alerts.firing() == alerts
    values = {alert.rule.metric: alert.value for alert in alerts}
    assert (values["loop_lag_ms"], values["memory_bytes"]) == (12.5, 2**30)
    said = {alert.rule.metric: (alert.name, alert.message) for alert in alerts}
    assert said["error_rate"] == ("error rate above 0 %", "Error rate is 20 %, above the bound of 0 %.")
    assert said["memory_bytes"][1] == "Memory is 1,024 MiB, above the bound of 0 MiB."
    assert len({alert.name for alert in alerts}) == len(alerts)


def test_names_are_made_from_the_rule() -> None:
    watched = Watched(
        AlertRule("ttft_p95_ms", 500.0, 10.0, "demo"),
        AlertRule("waiting", 3),
        AlertRule("waiting", 3, name="queue <b>"),
    )
    names = [alert.name for alert in watched.alerts.all()]
    assert names == ["demo: TTFT p95 above 500 ms for 10 s", "waiting requests above 3", "queue <b>"]


def test_a_rule_that_stays_goes_on_and_one_that_goes_ends() -> None:
    watched = Watched(AlertRule("loop_lag_ms", 10.0), AlertRule("loop_lag_ms", 20.0))
    watched.lags(30)
    watched.alerts.set([AlertRule("loop_lag_ms", 20.0), AlertRule("loop_lag_ms", 25.0)], configured=False)
    assert [(alert.rule.above, alert.firing) for alert in watched.told] == [(10, True), (20, True), (10, False)]
    assert [alert.firing for alert in watched.alerts.all()] == [True, False]
    watched.alerts.set([AlertRule("loop_lag_ms", 1.0)], configured=True)
    assert [alert.configured for alert in watched.alerts.all()] == [True, False, False]
    watched.alerts.set([], configured=False)
    assert [alert.rule.above for alert in watched.alerts.all()] == [1.0]


WRONG: dict[str, tuple[list[Any], str]] = {
    "no number": ([LAG, AlertRule("waiting", math.nan)], "rules[1].above"),
    "no end": ([AlertRule("waiting", math.inf)], "rules[0].above"),
    "below nothing": ([AlertRule("waiting", -1.0)], "rules[0].above"),
    "no such figure": ([AlertRule("speed", 1.0)], "rules[0].metric"),
    "a model of what has none": ([AlertRule("loop_lag_ms", 1.0, model="a")], "rules[0].model"),
    "a path for a model": ([AlertRule("waiting", 1.0, model="../a")], "rules[0].model"),
    "two lines": ([AlertRule("waiting", 1.0, name="a\nb")], "rules[0].name"),
    "a long name": ([AlertRule("waiting", 1.0, name="a" * 81)], "rules[0].name"),
    "two of one name": ([AlertRule("waiting", 1.0, name="a"), AlertRule("waiting", 2.0, name="a")], "rules[1].name"),
    "the same twice": ([LAG, LAG], "rules[1].name"),
    "too many": ([AlertRule("waiting", float(index)) for index in range(MAX_ALERT_RULES + 1)], "rules"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_rule_is_refused_and_changes_nothing(name: str) -> None:
    rules, field = WRONG[name]
    watched = Watched(LAG)
    with pytest.raises(StreaminferError) as refused:
        watched.alerts.set(rules, configured=False)
    assert (refused.value.code, refused.value.field) == ("invalid_request", field)
    assert [alert.rule for alert in watched.alerts.all()] == [LAG]


def test_who_is_told_may_fail() -> None:
    def fail(alert: Alert) -> None:
        raise RuntimeError

    alerts = Alerts(fail)
    alerts.set([AlertRule("loop_lag_ms", 1.0), AlertRule("loop_lag_ms", 2.0)], configured=False)
    alerts.look(sample(loop_lag_ms=5.0), 0.0)
    assert [alert.firing for alert in alerts.all()] == [True, True]


async def test_the_engine_tells_who_asks() -> None:
    engine = Engine()
    told: list[Alert] = []
    engine.on_alert = told.append
    assert engine.set_alerts([LAG]) == engine.alerts() != []
    engine._alerts.set([AlertRule("memory_bytes", 0.0)], configured=True)
    engine._alerts.look(sample(memory_bytes=1), 0.0)
    assert [alert.rule.metric for alert in engine.metrics().alerts] == [alert.rule.metric for alert in told]
    assert told[0].firing
    await engine.close()
