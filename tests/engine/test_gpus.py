"""NVML's numbers, with a driver that the test plays: the machines that test have no GPU."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from jupyter_streaminfer.engine.gpus import Gpus


class Driver(ModuleType):
    """As much of `pynvml` as is used, over a few made-up GPUs; a value that is None is not supported."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: tuple[str, int | None, float | None], broken: bool = False) -> None:
        super().__init__("pynvml")
        self.gpus = [SimpleNamespace(uuid=uuid, busy=busy, used=used) for uuid, busy, used in gpus]
        self.broken = broken

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:  # noqa: N802
        if index >= len(self.gpus):
            raise self.NVMLError("invalid argument")
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> SimpleNamespace:  # noqa: N802
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise self.NVMLError("not found")

    def nvmlDeviceGetUtilizationRates(self, gpu: SimpleNamespace) -> SimpleNamespace:  # noqa: N802
        if gpu.busy is None:
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=gpu.busy, memory=0)

    def nvmlDeviceGetMemoryInfo(self, gpu: SimpleNamespace) -> SimpleNamespace:  # noqa: N802
        if gpu.used is None:
            raise self.NVMLError("not supported")
        return SimpleNamespace(total=1000, used=int(1000 * gpu.used), free=0)


TWO = [("GPU-a", 30, 0.9), ("GPU-b", 80, 0.2)]


def gpus(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, visible: str | None = None) -> Gpus:
    monkeypatch.setitem(sys.modules, "pynvml", driver)  # None: an import fails
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return Gpus()


def test_the_busiest_and_the_fullest(monkeypatch: pytest.MonkeyPatch) -> None:
    both = gpus(monkeypatch, Driver(*TWO))
    assert (both.utilisation(), both.memory_used()) == (0.8, 0.9)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0", (0.3, 0.9)), ("1", (0.8, 0.2)), (" 1, 0", (0.8, 0.9)), ("GPU-a", (0.3, 0.9)), ("GPU-x,1", (0.8, 0.2))],
)
def test_only_those_that_the_process_may_use(monkeypatch, visible: str, expected: tuple[float, float]) -> None:
    some = gpus(monkeypatch, Driver(*TWO), visible)
    assert (some.utilisation(), some.memory_used()) == expected


@pytest.mark.parametrize("visible", ["", "-1", "7", "nonsense"])
def test_a_process_that_may_use_none(monkeypatch, visible: str) -> None:
    none = gpus(monkeypatch, Driver(*TWO), visible)
    assert (none.utilisation(), none.memory_used()) == (None, None)


def test_what_one_cannot_say_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    some = gpus(monkeypatch, Driver(("GPU-a", None, 0.5), ("GPU-b", None, None)))
    assert (some.utilisation(), some.memory_used()) == (None, 0.5)


@pytest.mark.parametrize("driver", [None, Driver(*TWO, broken=True), Driver()])
def test_no_nvml_no_driver_and_no_gpu_are_no_errors(monkeypatch, driver: Driver | None) -> None:
    none = gpus(monkeypatch, driver)
    assert (none.utilisation(), none.memory_used()) == (None, None)
