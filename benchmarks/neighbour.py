"""How the engine treats the Jupyter server it lives in: kernel round trips and REST answers, idle and under load.

``python benchmarks/neighbour.py``: idle and loaded periods in turn, in one run. Loaded means 32 streams of
``demo`` at once, over and over, from another process. Prints p50, p95, p99 of a kernel's ``execute_request``
round trip and of ``GET /api/status``, and their ratios; kept in ``results/neighbour.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import live_server
from figures import keep, summary
from load import real_time
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

HERE = Path(__file__).parent


async def execute(channels: WebSocketClientConnection) -> float:
    """The round trip of an empty cell, milliseconds: from the request to the kernel's reply."""
    id = uuid.uuid4().hex
    content = {"code": "1", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    header = {"msg_id": id, "msg_type": "execute_request", "username": "", "session": "benchmark", "version": "5.4"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    began = time.perf_counter()
    await channels.write_message(json.dumps(message))
    while True:
        answer = json.loads(await channels.read_message())
        if answer["msg_type"] == "execute_reply" and answer["parent_header"]["msg_id"] == id:
            return (time.perf_counter() - began) * 1000


async def status(server: live_server.Server, client: AsyncHTTPClient) -> float:
    """The time of one ``GET /api/status``, milliseconds."""
    began = time.perf_counter()
    await client.fetch(HTTPRequest(server.url + "api/status", headers=server.headers))
    return (time.perf_counter() - began) * 1000


async def period(
    server: live_server.Server, channels: WebSocketClientConnection, seconds: float
) -> tuple[list[float], list[float]]:
    """Both measured in turn for that long."""
    client = AsyncHTTPClient()
    executes, statuses = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        executes.append(await execute(channels))
        for _ in range(4):
            statuses.append(await status(server, client))
            await asyncio.sleep(0.01)
    return executes, statuses


async def measure(server: live_server.Server, rounds: int, seconds: float, tokens: int) -> dict:
    """Idle and loaded periods in turn; the figures of each kind together."""
    kernel = server.request("POST", "api/kernels", {"name": "python3"})
    address = f"{server.websocket}api/kernels/{kernel['id']}/channels"
    channels = await websocket_connect(HTTPRequest(address, headers=server.headers))
    server.request("POST", "streaminfer/api/models", {"name": "demo"})
    real_time()
    await period(server, channels, seconds / 2)
    gathered = {"idle": ([], []), "loaded": ([], [])}
    speeds = []
    for _ in range(rounds):
        for state in ("idle", "loaded"):
            load = None
            if state == "loaded":
                command = [sys.executable, str(HERE / "load.py"), server.url, server.token, "demo"]
                command += ["--seconds", str(seconds + 1), "--ordinary", "--tokens", str(tokens)]
                load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                while not any(each["active"] for each in server.request("GET", "streaminfer/api/models")["models"]):
                    await asyncio.sleep(0.05)
            executes, statuses = await period(server, channels, seconds)
            gathered[state][0].extend(executes)
            gathered[state][1].extend(statuses)
            if load:
                speeds.append(json.loads(load.communicate(timeout=60)[0])["tokens_per_second"])
    figures = {
        state: {"execute_ms": summary(executes), "status_ms": summary(statuses), "samples": len(executes)}
        for state, (executes, statuses) in gathered.items()
    }
    ratios = {
        name: {p: round(figures["loaded"][name][p] / figures["idle"][name][p], 3) for p in ("p50", "p95", "p99")}
        for name in ("execute_ms", "status_ms")
    }
    return {"new_tokens": tokens, "loaded_over_idle": ratios, "tokens_per_second_meanwhile": speeds, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=128, help="of each stream; all 32 begin and end together")
    options = parser.parse_args()
    with live_server.running() as server:
        keep("neighbour", asyncio.run(measure(server, options.rounds, options.seconds, options.tokens)))


if __name__ == "__main__":
    main()
