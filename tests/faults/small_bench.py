"""The fault bench (``benchmarks/faults.py``) as the tests run it: small, and without a look at any speed."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from faults_bench import Outcome


def passes(scenario: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run it: everything holds that does on any machine."""
    outcome = asyncio.run(scenario)
    assert outcome.checks
    failures = outcome.failures(noisy=False)
    assert not failures, failures
    return outcome
