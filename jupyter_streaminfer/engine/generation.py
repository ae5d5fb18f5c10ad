"""A generation: what one generate request has a model do."""

from __future__ import annotations

from jupyter_streaminfer.engine.stream_task import StreamTask
from jupyter_streaminfer.protocol import Finished, Generate, GenerateJob, JobEvent, Tokens


class Generation(StreamTask):
    """Tokens. Its noise is keyed on seed and position, so whoever goes on with it brings the same."""

    unit = "token"
    continuable = True

    def _job(self, id: str) -> GenerateJob:
        stream, request = self.stream, self.stream.request
        assert isinstance(request, Generate)  # noqa: S101 (what it is made for)
        return GenerateJob(id, request, stream.seed, stream.delivered, self._client)

    def on_event(self, event: JobEvent) -> None:
        """Write what the job brought."""
        match event:
            case Tokens():
                self.stream.append(event.token_ids, event.text, event.logprobs)
                if tokens := len(event.token_ids):
                    self.account.tokens(tokens, self.stream.log.last_at_ms)
                self.ticket.progress(tokens)
                self._deadlines.token()
            case Finished():
                if event.text:
                    self.stream.append([], event.text)
                self.stream.complete(event.finish_reason)
                self._end()
            case _:
                super().on_event(event)
