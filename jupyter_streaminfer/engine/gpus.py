"""How busy and how full the GPUs are, as NVML says where it is installed (extra ``gpu``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any


class Gpus:
    """The GPUs that this process may use. Without NVML, or where it fails, there is nothing to say, and no error."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # what is missing or broken differs from driver to driver
            return
        self._nvml = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            self._handles = [handle for handle in self._all() if handle is not None]

    def utilisation(self) -> float | None:
        """The part of the last moment in which a kernel ran, of the busiest one: 0 to 1."""
        return self._most(lambda handle: self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)

    def memory_used(self) -> float | None:
        """The used part of its memory, of the fullest one: 0 to 1."""

        def used(handle: Any) -> float:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            return float(memory.used / memory.total)

        return self._most(used)

    def _all(self) -> list[Any]:
        """The handles of the GPUs that ``CUDA_VISIBLE_DEVICES`` names by number or UUID; of all where it is not set."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            names = [str(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        else:
            names = [name.strip() for name in visible.split(",")]
        return [self._handle(name) for name in names]

    def _handle(self, name: str) -> Any | None:
        try:
            if name.isdecimal():
                return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
            return self._nvml.nvmlDeviceGetHandleByUUID(name) if name.startswith(("GPU-", "MIG-")) else None
        except self._nvml.NVMLError:
            return None

    def _most(self, value: Callable[[Any], float]) -> float | None:
        values = []
        for handle in self._handles:
            with contextlib.suppress(self._nvml.NVMLError):  # this one cannot say it, or is lost
                values.append(value(handle))
        return max(values, default=None)
