"""The widgets that a client makes."""

from __future__ import annotations

import pytest

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets import Compare, Dashboard, Review, Timeline

WAIT_S = 60


def test_each_is_made_of_its_client(embedded_client: Client) -> None:
    client = embedded_client
    stream = client.generate("tiny", "The", max_tokens=2).wait(WAIT_S)
    made = [
        client.dashboard(),
        client.compare("The", ["tiny", "tiny@1"], max_tokens=2),
        client.timeline([stream]),
        client.review("digits", [[[0.0] * 8] * 8] * 2),
    ]
    try:
        assert all(map(isinstance, made, (Dashboard, Compare, Timeline, Review)))
        assert all(widget.text() for widget in made)
    finally:
        for widget in made:
            widget.close()


def test_a_chat_needs_a_model_that_knows_turns(embedded_client: Client) -> None:
    with pytest.raises(StreaminferError, match="chat template"):
        embedded_client.chat("tiny")
