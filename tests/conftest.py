"""What all tests share: tiny models, and the rule on missing real parts."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny_models import build_llama

# Several runs are beside each other, and the models are tiny. More of OpenMP's threads than cores wait for each other
# without letting go of them: a third of the time went there.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: a random Llama with a context of 256 tokens."""
    return build_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def long_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a context longer than `ENDLESS`, for streams that must be caught while they run."""
    return build_llama(tmp_path_factory.mktemp("models") / "long", max_position_embeddings=250_000)


def pytest_configure() -> None:
    """Let Ctrl-C through: a run that a shell started in the background ignores it, and hands that on to its children.

    The tests of interrupting failed in such a run, and nowhere else.

    And let no property test fail for the clock: on a busy machine Hypothesis once refused to draw two large inputs.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("streaminfer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("streaminfer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser's tests last: Playwright keeps an event loop running on the main thread until it is closed."""
    items.sort(key=lambda item: "ui" in item.path.parts)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a test may not be skipped for want of a real part (a browser, a program), only for want of a GPU."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if report.longrepr]
    missing = [reason for reason in reasons if "GPU" not in reason]
    if missing and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"CI: {len(missing)} tests were skipped for want of a real part: {sorted(set(missing))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
