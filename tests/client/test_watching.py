"""Samples that are told as they come, from an engine in this process and from a server, and over lost connections."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_streaminfer.client import Client, connect, retries
from jupyter_streaminfer.protocol import (
    HISTORY_S,
    Error,
    Metrics,
    MetricsSample,
    ModelsSample,
    Ok,
    StreaminferError,
    StreamsSample,
    Topic,
    Unwatch,
    Watch,
    Watching,
)

from .peer import Peer, PeerSocket

WAIT_S = 30


class Told:
    """What a subscription was told, in its order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Any] = queue.Queue()
        self.losses: queue.Queue[StreaminferError] = queue.Queue()

    def next(self) -> Any:
        return self.queue.get(timeout=WAIT_S)

    def until(self, kind: type) -> Any:
        while not isinstance(message := self.next(), kind):
            pass
        return message


@pytest.fixture
def told() -> Told:
    return Told()


def test_samples_come_each_second_after_the_past(client: Client, told: Told) -> None:
    with client.metrics.watch(told.queue.put, ("metrics", "models", "streams"), history_s=HISTORY_S) as subscription:
        watching = told.next()
        assert isinstance(watching, Watching)
        assert watching.interval_s == 1.0
        assert subscription.live
        first, second = told.until(MetricsSample).metrics, told.until(MetricsSample).metrics
        assert second.at > first.at
        assert all(before.at < first.at for before in watching.history)
        assert {model.name for model in told.until(ModelsSample).models} >= {"tiny", "digits"}
        assert isinstance(told.until(StreamsSample).streams, list)
    assert subscription.closed
    assert "closed" in repr(subscription)
    left = told.queue.qsize()
    past = client.metrics.history()
    assert told.queue.qsize() == left
    assert first.at in [sample.at for sample in past]
    assert past == sorted(past, key=lambda sample: sample.at)


def test_two_subscriptions_share_one_watch_and_each_gets_its_own(client: Client, told: Told) -> None:
    other = Told()
    with client.metrics.watch(told.queue.put, ("models",)):
        assert told.next().history == []
        with client.metrics.watch(other.queue.put, ("metrics",), history_s=5):
            assert isinstance(other.next(), Watching)
            assert isinstance(other.next(), MetricsSample)
        for _ in range(2):
            assert isinstance(told.next(), ModelsSample)


def test_a_callback_that_fails_or_closes_disturbs_nobody(client: Client, told: Told) -> None:
    def failing(message: object) -> None:
        told.queue.put(message)
        if isinstance(message, MetricsSample):
            subscription.close()
        raise ValueError("a callback's own fault")

    subscription = client.metrics.watch(failing)
    assert isinstance(told.next(), Watching)
    assert isinstance(told.next(), MetricsSample)
    assert client.health().status == "ok"
    assert subscription.closed


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"topics": ("nonsense",)}, "topics"),
        ({"topics": ()}, "topics"),
        ({"history_s": 601.0}, "history_s"),
        ({"history_s": -1.0}, "history_s"),
        ({"history_s": float("nan")}, "history_s"),
    ],
)
def test_what_cannot_be_watched(client: Client, told: Told, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.metrics.watch(told.queue.put, **arguments)
    assert field in (raised.value.field or "")
    assert told.queue.empty()


def test_a_closed_client_ends_its_subscriptions(long_llama: object) -> None:
    from jupyter_streaminfer.client.connect import embedded

    told = Told()
    with embedded() as client:
        subscription = client.metrics.watch(told.queue.put, on_lost=told.losses.put)
    error = told.losses.get(timeout=WAIT_S)
    assert "closed" in str(error)
    assert not error.info.retryable
    assert subscription.closed


# Over a server that loses connections.


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.01)


class Sampling:
    """What a server does with watches; ``asked`` are the topics, ``sample`` is sent to whoever watches last."""

    def __init__(self, sample: Metrics) -> None:
        self.metrics = sample
        self.socket: PeerSocket | None = None

    def __call__(self, socket: PeerSocket, request: object) -> None:
        if isinstance(request, Watch):
            self.socket = socket
            past = [self.metrics] * 3 if request.history_s else []
            socket.say(Watching(request.id, 1.0, past), MetricsSample(self.metrics))
        elif isinstance(request, Unwatch):
            socket.say(Ok(request.id))


@pytest.fixture
def sampling(embedded_client: Client) -> Sampling:
    return Sampling(embedded_client.metrics())


@pytest.fixture
def peer(sampling: Sampling) -> Iterator[Peer]:
    with Peer(sampling) as peer:
        yield peer


@pytest.fixture
def of_peer(peer: Peer) -> Iterator[Client]:
    with connect(peer.url, "token") as client:
        yield client


def cut(peer: Peer) -> None:
    peer._loop.call_soon_threadsafe(lambda: [socket.cut() for socket in list(peer.sockets)])


def test_a_lost_connection_is_told_and_had_back(of_peer: Client, peer: Peer, told: Told) -> None:
    subscription = of_peer.metrics.watch(told.queue.put, history_s=2.0, on_lost=told.losses.put)
    for _ in range(3):
        assert len(told.until(Watching).history) == 2, "as much of the past as was asked for"
        told.until(MetricsSample)
        cut(peer)
        assert told.losses.get(timeout=WAIT_S).info.retryable
    told.until(Watching)
    assert subscription.live
    subscription.close()
    assert {tuple(watch.topics) for watch in peer.asked_for(Watch)} == {("metrics",)}


def test_one_watch_asks_for_what_all_want_and_no_more(of_peer: Client, peer: Peer, told: Told) -> None:
    def topics() -> list[list[Topic]]:
        return [watch.topics for watch in peer.asked_for(Watch)]

    first = of_peer.metrics.watch(told.queue.put, ("metrics",), history_s=3)
    second = of_peer.metrics.watch(told.queue.put, ("streams", "metrics"))
    assert topics() == [["metrics"], ["metrics", "streams"]]
    assert [watch.history_s for watch in peer.asked_for(Watch)] == [3.0, 0.0]
    second.close()
    first.close()
    third = of_peer.metrics.watch(told.queue.put, ("models",))
    # A request answered after them: by then they have come.
    assert peer.asked_for(Unwatch) or topics()[-1] == ["models"]
    third.close()


def test_a_refused_watch_is_raised_and_one_refused_later_ends(
    of_peer: Client, peer: Peer, sampling: Sampling, told: Told
) -> None:
    def refusing(socket: PeerSocket, request: Any) -> None:
        socket.say(Error("invalid_request", "No watching here.", False, request.id))

    subscription = of_peer.metrics.watch(told.queue.put, on_lost=told.losses.put)
    peer.script = refusing
    with pytest.raises(StreaminferError, match="No watching here"):
        of_peer.metrics.watch(told.queue.put)
    cut(peer)
    told.losses.get(timeout=WAIT_S)
    assert "Samples come no more. No watching here." in str(told.losses.get(timeout=WAIT_S))
    assert subscription.closed


def test_a_subscription_keeps_its_client(peer: Peer, told: Told) -> None:
    def watched(url: str) -> Callable[[], None]:
        return connect(url, "token").metrics.watch(told.queue.put).close

    close = watched(peer.url)
    told.until(MetricsSample)
    cut(peer)
    told.until(Watching)
    close()
