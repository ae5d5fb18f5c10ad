"""picows' frames: the same connection behind a parser in C, several times as fast for small messages."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport

from jupyter_streaminfer.server.frames import CLOSE_S, MAX_FRAME_BYTES, Receiver, frame_size, text_frames
from jupyter_streaminfer.server.heartbeat import Pulse, on_the_way

if TYPE_CHECKING:
    from jupyter_streaminfer.server.takeover import Handover

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_PING, _CLOSE = WSMsgType.PING, WSMsgType.CLOSE


class PicowsFrames(WSListener):
    """What picows tells of one socket, and what is written to it. A `connection.Transport` and a `heartbeat.Wire`.

    ``heard`` is counted up by who reads the socket: picows tells of whole frames only, and a long one that is still
    coming is a sign of life as well.
    """

    def __init__(self, socket: Handover, receiver: Receiver) -> None:
        """``socket`` calls `pause_writing` as soon as it holds anything back, and `resume_writing` once it does not."""
        self.connected = False
        self.heard = 0
        """Bytes."""
        self.tail = -1
        """Bytes that were read with the last frame, and stand behind it."""
        self._socket = socket
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport
        self._written = 0
        """Bytes."""
        self._full = False
        """Whether the socket has not taken all of them."""
        self._drained: asyncio.Future[None] | None = None
        """What whoever wrote to a full socket waits for."""
        self._parts: bytearray | None = None
        """The fragments of a message so far."""
        self._parts_type = _TEXT
        self._waiting = False
        """Whether no further frame is to be handed on now."""
        self._held: deque[bytes | None] = deque()
        """Those that came all the same: what the socket had been read for already. None: a binary one."""
        self._closing = False
        self._last_call: asyncio.TimerHandle | None = None

    @property
    def ending(self) -> bool:
        """Whether a close frame was sent or received, or the socket is gone."""
        return self._closing or self._transport.is_close_frame_sent

    # What picows tells.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Frames follow."""
        self.connected = True
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame, unmasked, of a known type, and no longer than allowed; all else is checked here."""
        type = frame.msg_type
        self.tail = frame.tail_size
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "no extension was agreed on")
        if type == _TEXT and frame.fin and self._parts is None:
            self._take(frame.get_payload_as_bytes())
        elif type in (_TEXT, _BINARY, _CONTINUATION):
            self._join(type, frame)
        elif type == _PING:
            # While the socket is full a pong would have to be kept; of several pings the last one's is enough.
            if not self._full and not self._closing:
                payload = frame.get_payload_as_bytes()
                transport.send_pong(payload)
                self._written += frame_size(len(payload))
        elif type == _CLOSE:
            if not self._closing:
                transport.send_close(_echoed(frame))
            self._end()

    def _join(self, type: WSMsgType, frame: WSFrame) -> None:
        """Collect the fragments of a message, or take a whole binary one."""
        begins = type != _CONTINUATION
        if begins != (self._parts is None):
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a message was begun within another, or never")
        if begins:
            self._parts_type, self._parts = type, bytearray()
        assert self._parts is not None  # noqa: S101 (begun, as was checked)
        if len(self._parts) + frame.payload_size > MAX_FRAME_BYTES:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
        self._parts += frame.get_payload_as_memoryview()
        if frame.fin:
            message, self._parts = self._parts, None
            self._take(bytes(message) if self._parts_type == _TEXT else None)

    def _take(self, message: bytes | None) -> None:
        if self._closing:
            return
        if self._waiting:
            self._held.append(message)
            return
        if message is None:
            self._receiver.on_binary()
        elif (wait := self._receiver.on_text(message)) is not None:
            self._waiting = True
            self._socket.pause_reading()
            wait.add_done_callback(self._go_on)

    def _go_on(self, waited: asyncio.Future[None]) -> None:
        self._waiting = False
        while self._held and not self._waiting:
            self._take(self._held.popleft())
        if not self._waiting and not self._closing:
            self._socket.resume_reading()

    def pause_writing(self) -> None:
        """The socket holds something back."""
        self._full = True

    def resume_writing(self) -> None:
        """It holds nothing back any more."""
        self._full = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone."""
        self._closing = True
        self._held.clear()
        if self._last_call is not None:
            self._last_call.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the connection was closed"))
            self._drained.exception()  # whoever waits is told; if nobody does, nothing was missed
        self._receiver.on_end()

    # What is written.

    def send(self, texts: list[bytes]) -> asyncio.Future[None] | None:
        """See `Transport.send`."""
        if self.ending:
            raise ConnectionError("the connection is closing")
        if len(texts) == 1:
            self._transport.send(_TEXT, texts[0])
            self._written += frame_size(len(texts[0]))
        else:
            data = text_frames(texts)
            self._socket.write(data)
            self._written += len(data)
        if not self._full:
            return None
        if self._drained is None:
            self._drained = self._loop.create_future()
        return self._drained

    def ping(self) -> None:
        """See `Wire.ping`."""
        if not self._closing:
            self._transport.send_ping()
            self._written += frame_size(0)

    def close(self, code: int, reason: str) -> None:
        """See `Transport.close`."""
        if not self._closing:
            self._transport.send_close(cast(WSCloseCode, code), reason)  # any number will do
            self._closing = True
            self._held.clear()
            self._socket.resume_reading()  # for the answer
            self._last_call = self._loop.call_later(CLOSE_S, self.abort)

    def abort(self) -> None:
        """Drop the socket."""
        self._closing = True
        self._socket.abort()

    def pulse(self) -> Pulse:
        """See `Wire.pulse`."""
        taken = self._written - self._socket.get_write_buffer_size() - on_the_way(self._socket.get_extra_info("socket"))
        return Pulse(self.heard, taken, self._written, self._full)

    def _end(self) -> None:
        """Close the socket once it has taken what was written, or soon."""
        self._closing = True
        if self._last_call is None:
            self._last_call = self._loop.call_later(CLOSE_S, self.abort)
        self._socket.close()


def _echoed(frame: WSFrame) -> WSCloseCode:
    """The code of a close frame, as it is sent back; one that has none is answered as an orderly end."""
    return frame.get_close_code() or WSCloseCode.OK
