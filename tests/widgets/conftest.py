"""A client of an engine in this process, and kernels that know of no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.connect import embedded


@pytest.fixture
def client(long_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("tiny", long_llama)
        yield client


@pytest.fixture
def stream(client: Client) -> ClientStream:
    """A finished stream of eight tokens."""
    return client.generate("tiny", "The quick", max_tokens=8, seed=1, ignore_eos=True).wait()


@pytest.fixture
def long_stream(client: Client) -> Iterator[ClientStream]:
    """A stream that goes on until somebody ends it, as far as a test is concerned."""
    stream = client.generate("tiny", "The quick", max_tokens=15_000, seed=1, ignore_eos=True)
    yield stream
    stream.cancel()
