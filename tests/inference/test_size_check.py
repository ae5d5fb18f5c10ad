"""Sizes in an archive: arithmetic passes, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.size_check import checked_size
from jupyter_streaminfer.protocol import StreaminferError

SYMBOL = "Symbol('s77', positive=True, integer=True)"


@pytest.mark.parametrize(
    "text",
    [
        SYMBOL,
        "s0",
        "4",
        f"Mul(Integer(2), {SYMBOL})",
        f"Add(Mul(Integer(2), {SYMBOL}), Integer(-1))",
        f"FloorDiv({SYMBOL}, Integer(4))",
        f"Pow({SYMBOL}, Integer(2))",
        "s0**2 + 2*s1*s0",
        "Max(1, u0)",
        "Eq(u0, 3) | (s1 >= 2)",
    ],
)
def test_arithmetic_passes(text: str) -> None:
    assert checked_size(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open('x')",
        "s0.__class__",
        "s0[0]",
        "[s0]",
        "lambda: 1",
        "'text'",
        "Symbol('open')",
        "Symbol('s0', positive=s1)",
        "Symbol('s0', 's1')",
        "Integer(1, evaluate=False)",
        "Add(*s0)",
        "s0 if s1 else s2",
        "(s0 := 3)",
        "1 << 99",
        "2**99",
        "2**s0",
        "((((9**8)**8)**8)**8)**8",
        "Pow(Integer(2), Integer(99))",
        "99999999999999999999",
        "1e400",
        "s0\nimport os",
        "__import__",
        "f'{s0}'",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(StreaminferError, match="no plain arithmetic"):
        checked_size(text)


@given(st.text("s0129()*+.,'_=-/ IntegrPowx[]{}:", max_size=40))
def test_what_passes_calls_known_functions_only(text: str) -> None:
    try:
        checked_size(text)
    except StreaminferError:
        return
    assert not set("[]{}:") & set(text)
    assert "__" not in text
