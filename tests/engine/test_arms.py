"""What is counted of a version's requests, and what is not."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.arms import FAULTS, ArmFigures
from jupyter_streaminfer.protocol import ErrorCode

CODES = st.sampled_from(get_args(ErrorCode))


@given(st.lists(st.one_of(st.floats(0.01, 1e5), CODES, st.none()), max_size=200))
def test_figures_are_those_of_a_recount(ends: list[float | str | None]) -> None:
    figures = ArmFigures()
    for end in ends:
        if isinstance(end, str):
            figures.failed(end)
        else:
            figures.answered(end)
    status = figures.status("2", 0.1, "canary", 1000)
    errors = [end for end in ends if end in FAULTS]
    answered = [end for end in ends if not isinstance(end, str)]
    latencies = sorted(end for end in answered if end is not None)
    assert (status.requests, status.errors) == (len(errors) + len(answered), len(errors))
    assert status.refused == sum(end in ("invalid_request", "too_large") for end in ends)
    assert status.share is not None
    assert status.share.value == status.requests / 1000
    if status.requests:
        assert status.error_rate is not None
        assert status.error_rate.value == pytest.approx(len(errors) / status.requests)
    else:
        assert status.error_rate is None
    if len(latencies) > 1:
        assert status.latency_ms is not None
        assert status.latency_ms.value == pytest.approx(sum(latencies) / len(latencies))
        assert status.latency_p50_ms == pytest.approx(latencies[(len(latencies) - 1) // 2], rel=0.011)
    else:
        assert status.latency_ms is None


@pytest.mark.parametrize("code", ["invalid_request", "rate_limited", "cancelled", "too_large"])
def test_what_the_asker_did_is_not_counted(code: ErrorCode) -> None:
    figures = ArmFigures()
    figures.failed(code)
    assert (figures.requests, figures.errors) == (0, 0)
