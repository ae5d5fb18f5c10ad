"""Heartbeats: whether the other end of a connection lives, is slow, or is gone."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Literal, NamedTuple, Protocol

from tornado.iostream import IOStream

LOOKS = 4
"""Looks in an interval."""

_log = logging.getLogger(__name__)


class Pulse(NamedTuple):
    """What passed over a connection so far, in bytes."""

    heard: int
    """Received."""
    taken: int
    """Written, and known to have reached the other machine; where that cannot be known, what the socket took."""
    written: int
    """Written."""
    stuck: bool
    """Whether the socket has not taken all of them."""


class Wire(Protocol):
    """A connection that is watched."""

    def pulse(self) -> Pulse:
        """What passed so far."""

    def ping(self) -> None:
        """Write something that the other end answers, or at least receives."""

    def abort(self) -> None:
        """Drop the connection."""


class Heartbeat:
    """Pings the other end at every interval, and drops a connection on which nothing lives any more.

    A sign of life is whatever is heard; and while a ping is on its way, that what stands before it gets through:
    whoever reads so slowly is slow, not dead. Without a sign the end is dead within two intervals. Where the socket is
    full, so that no ping gets out, it has ``stalled_s`` to take something.
    """

    def __init__(self, wire: Wire, interval_s: float, stalled_s: float, now: float, *, answers: bool = True) -> None:
        """``now``: the loop's time. ``answers``: whether pings are answered; otherwise their arrival is the sign."""
        self.dropped = False
        """Whether the other end was found dead or stalled."""
        self._wire = wire
        self._interval_s = interval_s
        self._stalled_s = stalled_s
        self._answers = answers
        self._every_s = interval_s / LOOKS
        self._looked = self._pinged = self._alive = now
        self._last = wire.pulse()
        self._ping: int | None = None
        """Where among the bytes that were written the oldest ping stands that is not answered."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        verdict = self.look(now)
        if verdict in ("dead", "stalled"):
            _log.info("A %s connection was closed: no sign of life for %.1f s.", verdict, now - self._alive)
            self.dropped = True
            self._wire.abort()
        else:
            self.start()

    def look(self, now: float) -> Literal["alive", "dead", "stalled"]:
        """What the other end is at the loop's time ``now``; pings it when it is time to."""
        late_s = now - self._looked - self._every_s
        if late_s > self._every_s:
            # This loop or the whole machine stood still, and signs may wait to be read.
            self._alive += late_s
        self._looked = now
        pulse, last = self._wire.pulse(), self._last
        self._last = pulse
        if pulse.heard != last.heard:
            self._alive = now
            self._ping = None
        elif self._moved(pulse, last):
            self._alive = now
        if not self._answers and self._ping is not None and pulse.taken > self._ping:
            self._alive = now
            self._ping = None
        # A sign may be as old as the last look when it is seen; and a look, here as below, may come a little early.
        limit_s = self._stalled_s if pulse.stuck else 2 * self._interval_s - 1.5 * self._every_s
        if now - self._alive >= limit_s:
            return "stalled" if pulse.stuck else "dead"
        if now - self._pinged >= self._interval_s - self._every_s / 2 and not pulse.stuck:
            self._pinged = now
            if self._ping is None:
                self._ping = pulse.written
            self._wire.ping()
        return "alive"

    def _moved(self, pulse: Pulse, last: Pulse) -> bool:
        """Whether what keeps a ping from being written, or stands before it still, got further.

        That the ping itself arrived says nothing: it may have been at a proxy, with nobody behind it.
        """
        waiting = pulse.stuck or last.stuck or (self._ping is not None and pulse.taken < self._ping)
        return waiting and pulse.taken > last.taken


def pulse_of(stream: IOStream, heard: int) -> Pulse:
    """The pulse of Tornado's end of a connection, from which ``heard`` bytes were read."""
    # Tornado counts both for itself alone.
    written, given = stream._total_write_index, stream._total_write_done_index
    return Pulse(heard + stream._read_buffer_size, given - on_the_way(stream.socket), written, stream.writing())


def keep_alive(stream: IOStream, interval_s: float) -> None:
    """Have the system find out within two intervals that an idle connection's other machine is gone, where it can."""
    if stream.socket is None or stream.socket.family == getattr(socket, "AF_UNIX", None):
        return
    if hasattr(socket, "TCP_KEEPIDLE"):
        probe_s = max(1, round(interval_s / 3))
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(interval_s)))
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe_s)
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


if sys.platform == "linux":
    import fcntl
    import termios

    def on_the_way(end: socket.socket | None) -> int:
        """Bytes that the socket took and the other machine has not acknowledged; 0 where that is not known."""
        if end is None:
            return 0
        try:
            return int.from_bytes(fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

else:

    def on_the_way(end: socket.socket | None) -> int:
        """Nothing that is known here."""
        return 0
