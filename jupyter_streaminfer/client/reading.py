"""One stream on its way to its reader: where in the log it is, over as many connections as it takes."""

from __future__ import annotations

from jupyter_streaminfer.client.transport import Sink
from jupyter_streaminfer.protocol import Attach, Attached, Delta, Event, StreaminferError


class Reading:
    """A sink, and the place up to which it was fed."""

    def __init__(self, sink: Sink, after: int = -1, epoch: str | None = None) -> None:
        """``after``: the last ``seq`` that the reader has; ``epoch``: the one that it knows, if any."""
        self.sink = sink
        self.stream = ""
        self.request = ""
        """The id of the request that had a connection bring it."""
        self.epoch = epoch
        self.after = after
        self.waiting = True
        """Whether no connection brings it just now."""

    def attached(self, attached: Attached) -> None:
        """Note that a connection brings it from here on, and tell the sink.

        Raises `StreaminferError` where what the connection brings does not follow what the reader has.
        """
        if self.epoch not in (None, attached.epoch):
            raise StreaminferError(
                "invalid_request", f"Stream {attached.stream} is in another epoch now.", field="epoch"
            )
        if not attached.recovered and attached.snapshot is None:
            raise StreaminferError(
                "expired", f"Stream {attached.stream} is kept only from event {attached.floor} on.", field="after"
            )
        self.stream, self.epoch, self.request, self.waiting = attached.stream, attached.epoch, attached.id, False
        if attached.snapshot is not None:
            self.after = attached.floor - 1
        self.sink.attached(attached)

    def again(self, id: str) -> Attach:
        """The request that goes on after what the reader has."""
        return Attach(id, self.stream, self.epoch, self.after)

    def take(self, event: Event) -> bool:
        """Feed the sink; False, and nothing is fed, where the event is not the one that follows."""
        if event.seq != self.after + 1:
            return False
        self.after = event.seq
        if isinstance(event, Delta) and event.last is not None:
            self.after = event.last
        self.sink.events([event])
        return True

    def lose(self, error: StreaminferError) -> None:
        """Tell the sink that it could not be read on."""
        hint = ""
        if error.code == "expired":
            hint = f" client.attach({self.stream!r}, snapshot=True) reads it with a summary in place of its beginning."
        self.sink.lost(
            StreaminferError(
                error.code,
                f"The stream cannot be read on; what was received is kept. {error}{hint}",
                field=error.field,
            )
        )
