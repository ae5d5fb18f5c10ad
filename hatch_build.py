"""Compile the CPU kernels into the wheel: ``python hatch_build.py`` does it in place, for a checkout.

The compiler is clang as the ``ziglang`` wheel brings it, so nothing has to be installed by hand. Where there
is no target or the compiler fails, the package is built without kernels and computes with torch instead.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "jupyter_streaminfer" / "inference" / "native"
FLAGS = ["-x", "c++", "-std=c++17", "-O3", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fPIC", "-shared", "-s"]
TARGETS = {
    ("linux", "x86_64"): ("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64"),
    ("linux", "aarch64"): ("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64"),
    ("darwin", "arm64"): ("aarch64-macos.11.0", "macosx_11_0_arm64"),
}
"""Compiler's target and wheel's tag for each platform that has kernels."""
VARIANTS = {
    "x86_64": {
        "avx2": ["-mcpu=x86_64_v3"],
        "avx512": ["-mcpu=x86_64_v4", "-mprefer-vector-width=512"],
        "avx512-bf16": ["-mcpu=x86_64_v4+avx512bf16+avx512vnni", "-mprefer-vector-width=512"],
    },
    "aarch64": {"neon": []},
    "arm64": {"neon": []},
}
"""What is compiled for each processor; `inference.native_library` chooses among them."""


def compile_kernels() -> str | None:
    """Compile what is missing or older than its sources; the wheel's platform tag, or None where there is no target."""
    machine = platform.machine()
    if (sys.platform, machine) not in TARGETS:
        return None
    target, tag = TARGETS[sys.platform, machine]
    changed = max(path.stat().st_mtime for path in (*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp"), Path(__file__)))
    for variant, options in VARIANTS[machine].items():
        library = SOURCES / f"decoder-{variant}.so"
        if library.exists() and library.stat().st_mtime > changed:
            continue
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *options, *FLAGS, "-Wall", "-Wextra"]
        subprocess.run([*command, "-o", str(library), str(SOURCES / "decoder.cpp")], check=True)
    return tag


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for every wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        try:
            tag = compile_kernels()
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"The CPU kernels were not built, torch will compute instead: {error}")
            return
        if tag is not None:
            build_data["tag"] = f"py3-none-{tag}"


if __name__ == "__main__":
    print(compile_kernels() or "no kernels for this platform")
