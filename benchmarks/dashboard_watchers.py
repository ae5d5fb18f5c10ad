"""Watchers of samples that do nothing else: ``python benchmarks/dashboard_watchers.py COUNT``.

A process of its own. Its first line of input is the server's WebSocket address with the token; it says ``ready`` once
all of them were sent their first samples, and, when its input ends, how many samples and bytes came after that.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from live_server import Server
from tornado.websocket import WebSocketClientConnection, websocket_connect

WATCH = {"type": "watch", "id": "w", "topics": ["metrics", "models", "streams"], "history_s": 300}


class Watchers:
    """The parent's end."""

    def __init__(self, server: Server, count: int) -> None:
        command = [sys.executable, str(Path(__file__)), str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{server.websocket}streaminfer/ws?token={server.token}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the watchers were not sent any samples")

    def close(self) -> dict[str, int]:
        """End them; returns ``samples`` and ``bytes`` that they were sent."""
        output, _ = self._process.communicate(timeout=60)
        counts: dict[str, int] = json.loads(output)
        return counts


async def watch(connection: WebSocketClientConnection, counts: dict[str, int], begun: asyncio.Event) -> None:
    """Read for ever."""
    await connection.write_message(json.dumps(WATCH))
    while (message := await connection.read_message()) is not None:
        if message.startswith('{"type":"metrics"'):
            begun.set()
        counts["samples"] += 1
        counts["bytes"] += len(message)


async def main() -> None:
    loop = asyncio.get_running_loop()
    address = (await loop.run_in_executor(None, sys.stdin.readline)).strip()
    counts = {"samples": 0, "bytes": 0}
    begun = [asyncio.Event() for _ in range(int(sys.argv[1]))]
    connections = [await websocket_connect(f"{address}&client=watcher{number}") for number in range(len(begun))]
    pairs = zip(connections, begun, strict=True)
    tasks = [asyncio.create_task(watch(connection, counts, event)) for connection, event in pairs]
    await asyncio.gather(*(event.wait() for event in begun))
    counts.update(samples=0, bytes=0)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(counts))


if __name__ == "__main__":
    asyncio.run(main())
