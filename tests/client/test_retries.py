"""Asking again for what was refused for the moment."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_streaminfer.client import Client, ConnectionLostError, connect, retries
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.protocol import (
    Attached,
    Completed,
    Error,
    ErrorCode,
    Generate,
    Predict,
    Result,
    StreaminferError,
    Timings,
    Usage,
)

from .peer import Peer, PeerSocket

WAIT_S = 30


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.01)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(lambda socket, request: None) as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with connect(peer.url, "t") as client:
        yield client


def busy(times: int, code: ErrorCode = "overloaded", retry_after_ms: float | None = None) -> Any:
    """A script that refuses each kind of request so many times, and then does what it is asked."""
    refused: dict[type, int] = {}

    def script(socket: PeerSocket, request: Any) -> None:
        kind = type(request)
        refused[kind] = refused.get(kind, 0) + 1
        if refused[kind] <= times:
            socket.say(Error(code, "Not now.", True, request.id, retry_after_ms=retry_after_ms))
        elif kind is Generate:
            socket.say(Attached(request.id, "st_1", "e", 0, 0, False, True))
            socket.say(Completed("st_1", 0, "stop", Usage(1, 0), Timings(0.0, None, 1.0)))
        else:
            socket.say(Result(request.id, "digits", "1", []))

    return script


@pytest.mark.parametrize("code", ["overloaded", "rate_limited", "model_not_ready"])
def test_a_refusal_for_the_moment_is_no_refusal(
    peer: Peer, client: Client, code: ErrorCode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jupyter_streaminfer")
    peer.script = busy(3, code)
    stream = client.generate("demo", "x")
    assert stream.wait(WAIT_S).state == "completed"
    assert stream.retries == 3
    assert "Retry 3 of 3" in caplog.text
    assert len(client.predict("digits", [[1.0]])) == 0
    assert (len(peer.asked_for(Generate)), len(peer.asked_for(Predict))) == (4, 4)


def test_it_waits_as_long_as_the_server_asks_for(peer: Peer, client: Client) -> None:
    peer.script = busy(2, "rate_limited", retry_after_ms=150.0)
    began = time.monotonic()
    assert client.generate("demo", "x").retries == 2
    assert time.monotonic() - began >= 0.3


def test_the_last_refusal_is_what_the_caller_gets(peer: Peer, client: Client) -> None:
    peer.script = busy(4)
    with pytest.raises(StreaminferError, match="Not now") as raised:
        client.generate("demo", "x")
    assert raised.value.code == "overloaded"
    assert len(peer.asked_for(Generate)) == 4


def test_it_can_be_turned_off(peer: Peer) -> None:
    peer.script = busy(1)
    with connect(peer.url, "t", retries=0) as client, pytest.raises(StreaminferError, match="Not now"):
        client.generate("demo", "x")
    assert len(peer.asked_for(Generate)) == 1


@pytest.mark.parametrize("number", [-1, 1.5, True, "many"])
def test_a_number_of_retries_that_cannot_be(peer: Peer, number: Any) -> None:
    with pytest.raises(StreaminferError) as raised:
        connect(peer.url, "t", retries=number)
    assert raised.value.field == "retries"


def test_a_refusal_for_good_is_final(peer: Peer, client: Client) -> None:
    peer.script = lambda socket, request: socket.say(Error("model_not_found", "No.", False, request.id))
    with pytest.raises(StreaminferError, match="No"):
        client.generate("demo", "x")
    assert len(peer.asked_for(Generate)) == 1


def test_a_wait_beyond_the_time_for_all_is_not_begun(peer: Peer, client: Client) -> None:
    peer.script = busy(1, "rate_limited", retry_after_ms=3_600_000.0)
    with pytest.raises(StreaminferError) as raised:
        client.generate("demo", "x")
    assert raised.value.info.retry_after_ms == 3_600_000.0


async def test_what_had_gone_out_is_asked_again_only_if_that_does_no_harm() -> None:
    for sent, pure, attempts in [(False, False, 2), (True, False, 1), (False, True, 2), (True, True, 2)]:
        asked: list[int] = []

        async def ask(asked: list[int] = asked, sent: bool = sent) -> None:
            asked.append(1)
            await asyncio.sleep(0)
            raise ConnectionLostError("gone", sent=sent)

        with pytest.raises(ConnectionLostError):
            await Retries(1).run(ask, pure=pure)
        assert len(asked) == attempts, (sent, pure)
