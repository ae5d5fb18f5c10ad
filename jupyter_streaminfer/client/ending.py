"""What a stream's terminal event means to its reader."""

from __future__ import annotations

from jupyter_streaminfer.protocol import Cancelled, Completed, Failed, Incomplete, StreaminferError

Terminal = Completed | Cancelled | Failed | Incomplete

STATES: dict[type[Terminal], str] = {
    Completed: "completed",
    Cancelled: "cancelled",
    Failed: "failed",
    Incomplete: "incomplete",
}

_CANCELLED = {
    "abandoned": "nobody read it for too long",
    "unload": "its model was unloaded",
    "shutdown": "the server was stopped",
}


def finish_reason(terminal: Terminal | None) -> str | None:
    """``stop`` or ``length`` of one that completed, ``deadline`` of one that is incomplete."""
    match terminal:
        case Completed():
            return terminal.finish_reason
        case Incomplete():
            return terminal.reason
    return None


def error(terminal: Terminal | None) -> StreaminferError | None:
    """Why it did not end in order; a cancel by a client is no error, and neither is a deadline for the whole."""
    match terminal:
        case Failed(error=info):
            return StreaminferError.of(info)
        case Cancelled(reason=reason) if reason in _CANCELLED:
            return StreaminferError("cancelled", f"The stream was cancelled: {_CANCELLED[reason]}.")
    return None


def resumable(terminal: Terminal | None) -> bool:
    """Whether there may be more to come in another stream."""
    return isinstance(terminal, Incomplete | Cancelled) or (isinstance(terminal, Failed) and terminal.resumable)
