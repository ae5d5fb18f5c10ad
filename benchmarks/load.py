"""A client that loads a server with streams and notes when each token arrived.

``python benchmarks/load.py URL TOKEN MODEL --streams 32 --tokens 128`` prints one JSON object. It is a
process of its own, at real-time priority where it may, so that it never waits for a core that the server
under test uses and its clock tells the truth.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import time
from contextlib import suppress

import msgspec
from figures import summary
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from jupyter_streaminfer.protocol import TERMINAL, Attached, Completed, Delta, ServerMessage

decode = msgspec.json.Decoder(ServerMessage).decode


def real_time() -> None:
    """Run before every ordinary process; needs the permission, does without it otherwise."""
    with suppress(PermissionError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


async def connect(url: str, token: str) -> WebSocketClientConnection:
    """A native WebSocket of the server at that base URL."""
    address = url.replace("http", "ws", 1) + "streaminfer/ws"
    return await websocket_connect(
        HTTPRequest(address, headers={"Authorization": f"token {token}"}), max_message_size=2**26
    )


def prompts(vocabulary: int, length: int, count: int, seed: int = 0) -> list[list[int]]:
    """Random token ids, the same for every subject: ``[count, length]``."""
    draw = random.Random(seed)
    return [[draw.randrange(8, vocabulary) for _ in range(length)] for _ in range(count)]


async def burst(connection: WebSocketClientConnection, model: str, every: list[list[int]], tokens: int) -> dict:
    """All prompts at once on one connection; figures as this client saw them."""
    sent: dict[str, float] = {}
    names: dict[str, str] = {}
    arrivals: dict[str, list[float]] = {}
    frames = 0
    began = time.perf_counter()
    for index, token_ids in enumerate(every):
        id = f"g{index}"
        sent[id] = time.perf_counter()
        await connection.write_message(
            json.dumps(
                {
                    "type": "generate",
                    "id": id,
                    "model": model,
                    "token_ids": token_ids,
                    "max_tokens": tokens,
                    "temperature": 0,
                    "ignore_eos": True,
                }
            )
        )
    open_streams = len(every)
    while open_streams:
        text = await connection.read_message()
        now = time.perf_counter()
        message = decode(text)
        frames += 1
        if isinstance(message, Attached):
            names[message.stream] = message.id
            arrivals[message.id] = []
        elif isinstance(message, Delta):
            arrivals[names[message.stream]] += [now] * len(message.token_ids)
        elif isinstance(message, TERMINAL):
            if not isinstance(message, Completed):
                raise RuntimeError(f"a stream did not complete: {message}")
            open_streams -= 1
        else:
            raise RuntimeError(f"unexpected: {message}")
    took = time.perf_counter() - began
    count = sum(map(len, arrivals.values()))
    assert count == len(every) * tokens
    gaps = [b - a for times in arrivals.values() for a, b in itertools.pairwise(times)]
    return {
        "tokens_per_second": round(count / took, 1),
        "ttft_ms": summary([(times[0] - sent[id]) * 1000 for id, times in arrivals.items()]),
        "itl_ms": summary([gap * 1000 for gap in gaps]),
        "frames": frames,
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=0, help="repeat for that long; 0 is one burst")
    parser.add_argument("--ordinary", action="store_true", help="ordinary priority: when another client is measured")
    options = parser.parse_args()
    if not options.ordinary:
        real_time()
    connection = await connect(options.url, options.token)
    every = prompts(options.vocabulary, options.prompt_tokens, options.streams)
    until = time.monotonic() + options.seconds
    while True:
        figures = await burst(connection, options.model, every, options.tokens)
        if time.monotonic() >= until:
            break
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
