"""What an exception means for what can be done next."""

from __future__ import annotations


class HungError(RuntimeError):
    """Threads of a model hang, more than may be left behind: only another process is rid of them."""


def device_lost(error: BaseException) -> bool:
    """Whether it is a CUDA error: the process can use its GPU no more, whatever it tries.

    Memory that was not to be had (``torch.OutOfMemoryError``) is none. Told by name and text, so that
    who has not imported torch can ask too.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if type(cause).__name__ == "AcceleratorError" or "CUDA error" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
