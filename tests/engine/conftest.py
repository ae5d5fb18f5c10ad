"""What the engine's tests share."""

import pytest

from jupyter_streaminfer.engine import source


@pytest.fixture(autouse=True)
def _in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models compute on threads where a test does not say otherwise: a process takes a second and a half to start."""
    monkeypatch.setattr(source, "DEFAULT_PLACEMENT", "thread")
