"""Where a reader of a stream begins, as a request over HTTP says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tornado.web import RequestHandler

from jupyter_streaminfer.engine import Stream
from jupyter_streaminfer.protocol import StreaminferError

LAST_EVENT_ID = "Last-Event-ID"
_ID = re.compile(r"(?P<epoch>[A-Za-z0-9_-]{1,64}):(?P<seq>[0-9]{1,18})")
_SEQ = re.compile(r"-1|[0-9]{1,18}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Place:
    """The same three that an `Attach` has."""

    after: int | None = None
    """The last ``seq`` that the reader has; none where it did not say."""
    epoch: str | None = None
    snapshot: bool = False
    resumed: bool = False
    """Whether a browser's ``EventSource`` came back by itself."""

    @classmethod
    def of(cls, handler: RequestHandler) -> Place:
        """By ``Last-Event-ID``, else ``?starting_after=``, ``?epoch=``; raises `StreaminferError`."""
        flag = handler.get_query_argument("snapshot", "false")
        if flag not in _FLAGS:
            raise _bad("snapshot", f"must be true or false, not {flag[:64]!r}")
        snapshot = _FLAGS[flag]
        # The header goes first: whoever comes back by itself sends the address that it had at first.
        if last := handler.request.headers.get(LAST_EVENT_ID):
            if not (found := _ID.fullmatch(last)):
                raise _bad(LAST_EVENT_ID, "must be an event's id as it was sent, EPOCH:SEQ")
            return cls(int(found["seq"]), found["epoch"], snapshot, resumed=True)
        after, epoch = handler.get_query_argument("starting_after", None), handler.get_query_argument("epoch", None)
        if after is not None and not _SEQ.fullmatch(after):
            raise _bad("starting_after", "must be the seq of the last event that you have, or -1 for none")
        return cls(None if after is None else int(after), epoch, snapshot)

    @property
    def start(self) -> int:
        """`after`, from the beginning where it was not said."""
        return -1 if self.after is None else self.after

    def has_all_of(self, stream: Stream) -> bool:
        """Whether a reader that came back has everything, the end included."""
        return self.resumed and stream.closed and self.start == stream.head - 1 and self.epoch == stream.epoch


def _bad(field: str, reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"{field} {reason}.", field=field)
