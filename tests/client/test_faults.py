"""A real server behind a network that delays, throttles, stalls and cuts."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from faulty_proxy import FaultyProxy

from jupyter_streaminfer.client import Client, ClientStream, ConnectionLostError, connect, socket

from .server_process import JupyterServer

WAIT_S = 120


@contextmanager
def through(server: JupyterServer, proxy: FaultyProxy, reconnect_s: float = 30.0) -> Iterator[Client]:
    """A client that reaches the server over the proxy alone."""
    with proxy, connect(f"http://127.0.0.1:{proxy.port}{server.base_url}", server.token, reconnect_s=reconnect_s) as it:
        yield it


def generate(client: Client, seed: int, tokens: int) -> ClientStream:
    return client.generate("tiny", "The quick", max_tokens=tokens, seed=seed, ignore_eos=True)


def check_whole(server_client: Client, streams: list[ClientStream], tokens: int) -> None:
    """Each text is what it is without a proxy, and each event came once and in its place."""
    expected = [generate(server_client, seed, tokens) for seed in range(len(streams))]
    for stream, whole in zip(streams, expected, strict=True):
        deltas = list(stream)
        whole.wait(WAIT_S)
        assert (stream.text, stream.token_ids) == (whole.text, whole.token_ids)
        ends = [each.seq if each.last is None else each.last for each in deltas]
        assert [each.seq for each in deltas] == [0] + [end + 1 for end in ends[:-1]]


def test_nothing_is_missing_or_repeated_when_every_connection_is_cut_after_some_kilobytes(
    server: JupyterServer, server_client: Client
) -> None:
    """What a stream has to catch up with comes as one delta; these are small enough to get through."""
    proxy = FaultyProxy(server.port)
    with through(server, proxy) as client:
        streams = [generate(client, seed, 400) for seed in range(8)]
        proxy.cut_after_bytes = 12_000
        check_whole(server_client, streams, 400)
        assert any(stream.reconnects for stream in streams)
    assert proxy.cuts > 1


def test_nothing_is_missing_or_repeated_when_every_connection_is_cut_after_a_moment(
    server: JupyterServer, server_client: Client
) -> None:
    proxy = FaultyProxy(server.port, delay_s=0.002)
    with through(server, proxy) as client:
        streams = [generate(client, seed, 1000) for seed in range(24)]
        proxy.cut_every_s = 0.4
        proxy.cut()
        check_whole(server_client, streams, 1000)
        assert any(stream.reconnects for stream in streams)


def test_a_slow_network_only_delays(server: JupyterServer, server_client: Client) -> None:
    with through(server, FaultyProxy(server.port, bytes_per_s=40_000.0, delay_s=0.01)) as client:
        streams = [generate(client, seed, 160) for seed in range(3)]
        check_whole(server_client, streams, 160)
        assert not any(stream.reconnects for stream in streams)


def test_predictions_come_through_a_network_that_cuts(server: JupyterServer, server_client: Client) -> None:
    rows = [[[float(row)] * 8] * 8 for row in range(8)]
    expected = server_client.predict("digits", rows)
    proxy = FaultyProxy(server.port)
    with through(server, proxy) as client:
        for _ in range(10):
            proxy.cut()
            assert client.predict("digits", rows).labels == expected.labels
    assert proxy.cuts >= 9


def test_a_connection_that_stalls_is_left_for_another(
    server: JupyterServer, server_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says that such a connection is dead but that nothing comes over it."""
    monkeypatch.setattr(socket, "PING_S", 0.3)
    proxy = FaultyProxy(server.port)
    with through(server, proxy) as client:
        stream = generate(client, 0, 3000)
        next(iter(stream))
        proxy.stall()
        check_whole(server_client, [stream], 3000)
        assert stream.reconnects >= 1


def test_a_server_that_vanishes_for_good(server: JupyterServer, server_client: Client) -> None:
    proxy = FaultyProxy(server.port)
    with through(server, proxy, reconnect_s=0.5) as client:
        stream = generate(client, 3, 15_000)
        next(iter(stream))
        proxy.refuse = True
        proxy.cut()
        with pytest.raises(ConnectionLostError, match="what was received is kept"):
            stream.wait(WAIT_S)
        text = stream.text
        assert text
        assert stream.state == "lost"
        server_client.cancel(stream.id)
        proxy.refuse = False
        again = client.attach(stream.id).wait(WAIT_S)
        assert again.text.startswith(text)
        assert again.state == "cancelled"
