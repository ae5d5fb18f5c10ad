"""A step's results on their way to the host: copied beside what the device computes next."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch


class Copies:
    """Tensors on their way; the host waits for them only when it asks."""

    def __init__(self, sources: Seq[torch.Tensor], stream: torch.cuda.Stream | None) -> None:
        """``stream``: what copies, after all that was begun before; None: they are on the host already."""
        # Kept until they are copied, for their memory is another's from then on.
        self._sources = list(sources)
        self._found = self._sources
        self._done: torch.cuda.Event | None = None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(stream.device))
            with torch.cuda.stream(stream):
                self._found = [source.to("cpu", non_blocking=True) for source in sources]
                self._done = stream.record_event()

    def wait(self) -> list[torch.Tensor]:
        """The tensors on the host."""
        if self._done is not None:
            self._done.synchronize()
        return self._found


class Readback:
    """Copies the results of one model's steps to the host."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def begin(self, tensors: Seq[torch.Tensor]) -> Copies:
        """Copy tensors, beside what is begun after this."""
        return Copies(tensors, self._stream)
