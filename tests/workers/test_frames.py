"""Messages on a byte stream: cut anywhere, they come out whole, and one that is too long is refused unread."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.workers.frames import HEADER, MAX_FRAME_BYTES, FrameBuffer, FrameTooLongError, frame


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 2500), max_size=12))
def test_any_cut_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(frame, messages))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    buffer = FrameBuffer()
    received = [message for begin, end in pairwise(edges) for message in buffer.feed(data[begin:end])]
    assert received == messages


def test_too_long() -> None:
    with pytest.raises(FrameTooLongError):
        frame(bytes(MAX_FRAME_BYTES + 1))
    with pytest.raises(FrameTooLongError):
        FrameBuffer().feed(HEADER.pack(MAX_FRAME_BYTES + 1))
