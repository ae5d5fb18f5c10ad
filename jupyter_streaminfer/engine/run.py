"""A run: what one run request has a model do."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from jupyter_streaminfer.engine.stream_task import StreamTask
from jupyter_streaminfer.protocol import Finished, JobEvent, Run, RunJob, StreaminferError, Yielded

_text = msgspec.json.Decoder(str).decode


class RunTask(StreamTask):
    """What a callable yields: texts and values. It cannot be continued, as nobody knows what it would do next time."""

    unit = "value"
    continuable = False

    def _job(self, id: str) -> RunJob:
        request = self.stream.request
        assert isinstance(request, Run)  # noqa: S101 (what it is made for)
        return RunJob(id, bytes(request.inputs), self._client)

    def on_event(self, event: JobEvent) -> None:
        """Write what the job brought."""
        match event:
            case Yielded():
                self._add(event.value)
            case Finished():
                self.stream.complete(event.finish_reason)
                self._end()
            case _:
                super().on_event(event)

    def _add(self, value: bytes) -> None:
        try:
            self.stream.add(_text(value) if value.startswith(b'"') else Raw(value))
        except StreaminferError as error:
            self.model.dispatch.cancel(self)
            self._fail(error.info)
            return
        self.account.tokens(1, self.stream.log.last_at_ms)
        self._deadlines.token()
