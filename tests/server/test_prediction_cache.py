"""A prediction that the cache answers, on the native WebSocket."""

from __future__ import annotations

from typing import Any

from jupyter_streaminfer.engine import Engine

ASKED: dict[str, Any] = {"type": "predict", "model": "digits", "inputs": [[1.0] * 64], "cache": True}


async def test_a_hit_says_so_and_its_id_is_free_again(engine: Engine, connect, request_api) -> None:
    socket, other = await connect(), await connect()
    first = await socket.ask(**ASKED, id="p")
    assert "cached" not in first
    for reader in (socket, socket, other):
        assert await reader.ask(**ASKED, id="p") == {**first, "cached": True}
    assert "cached" not in await socket.ask(**{**ASKED, "inputs": [[2.0] * 64]}, id="p")
    metrics = (await request_api("api", "metrics"))[1]
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (3, 2)


async def test_a_connection_that_goes_takes_its_hits_with_it(engine: Engine, connect) -> None:
    socket, other = await connect(), await connect()
    await socket.ask(**ASKED, id="p")
    for number in range(50):
        socket.send(**ASKED, id=f"p{number}")
    socket.connection.close()
    assert (await other.ask(**ASKED, id="p"))["cached"]
    assert engine.metrics().pending == 0
