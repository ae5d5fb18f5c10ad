"""How the engine treats the Jupyter server it lives in: kernel round trips and REST answers, idle and under load.

``python benchmarks/neighbour.py``: idle and loaded periods in turn, in one run. Loaded means 32 streams of
``demo`` under way all the time, from another process: each that ends is followed by another. Prints p50, p95, p99
of a kernel's ``execute_request`` round trip and of ``GET /api/status``, and their ratios; kept in
``results/neighbour.json``.

``--apart``: with the clients and the model on one core, so that the server has another whenever it wants one, as
where the clients are on other machines. Else a client at real-time priority may sit on the core that the model has
left for the server, and go before it there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import time
import uuid

import live_server
import load
from figures import keep, summary
from processes import keep_to, tree, two_cores
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect
from workload import Prompts, Workload

MODEL = "demo"
VOCABULARY = 4096
CONTEXT = 1024
PROMPT_TOKENS = 64
STREAMS = 32
STREAMS_A_SECOND = 250
"""More than will be asked for: the load must not run dry."""


async def execute(channels: WebSocketClientConnection) -> float:
    """The round trip of an empty cell, milliseconds: from the request to the kernel's reply."""
    id = uuid.uuid4().hex
    content = {"code": "1", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    header = {"msg_id": id, "msg_type": "execute_request", "username": "", "session": "benchmark", "version": "5.4"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    began = time.perf_counter()
    await channels.write_message(json.dumps(message))
    while True:
        answer = json.loads(await channels.read_message() or "null")
        if answer is None:
            raise RuntimeError("the kernel's channels were closed")
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


def asked(arrivals: str, tokens: int, seconds: float, seed: str) -> Workload:
    """The load: streams of ``tokens`` new tokens, all alike (``lockstep``) or on average (``poisson``)."""
    prompts = Prompts(VOCABULARY, seed)
    count = round(STREAMS_A_SECOND * seconds)
    if arrivals == "lockstep":
        requests = prompts.burst(count, STREAMS, PROMPT_TOKENS, tokens).requests
        return Workload(requests, STREAMS, seconds)
    # A bound, so that a round's last streams do not go on for long after it.
    most = min(4 * tokens, CONTEXT - PROMPT_TOKENS)
    return prompts.closed_loop(count, STREAMS, PROMPT_TOKENS, tokens, most, seconds)


async def begin(server: live_server.Server, workload: Workload) -> subprocess.Popen[str]:
    """The load's process, once its streams are under way."""
    process = load.start(load.Job("websocket", server.url, server.token, MODEL, workload, real_time=False))
    while not any(each["active"] for each in server.request("GET", "streaminfer/api/models")["models"]):
        await asyncio.sleep(0.05)
    return process


async def measure(
    server: live_server.Server, rounds: int, seconds: float, tokens: int, arrivals: str, placement: str, apart: bool
) -> dict:  # type: ignore[type-arg]
    """Idle and loaded periods in turn; the figures of each kind together."""
    kernel = server.request("POST", "api/kernels", {"name": "python3"})
    address = f"{server.websocket}api/kernels/{kernel['id']}/channels"
    channels = await websocket_connect(HTTPRequest(address, headers=server.headers))
    without = tree(server.pid)
    server.request("POST", "streaminfer/api/models", {"name": MODEL, "placement": placement})
    if apart:
        _, others = two_cores()
        os.sched_setaffinity(0, others)
        for each in set(tree(server.pid)) - set(without):
            keep_to(each, others)
    load.real_time()
    await period(server, channels, seconds / 2)
    executes: dict[str, list[float]] = {"idle": [], "loaded": []}
    statuses: dict[str, list[float]] = {"idle": [], "loaded": []}
    speeds = []
    for number in range(rounds):
        for state in ("idle", "loaded"):
            process = None
            if state == "loaded":
                process = await begin(server, asked(arrivals, tokens, seconds + 1, str(number)))
            of_executes, of_statuses = await period(server, channels, seconds)
            executes[state] += of_executes
            statuses[state] += of_statuses
            if process:
                speeds.append(load.finish(process, 120).figures()["tokens_per_second"])
    figures = {
        state: {"execute_ms": summary(executes[state]), "status_ms": summary(statuses[state])}
        for state in ("idle", "loaded")
    }
    ratios = {
        name: {p: round(figures["loaded"][name][p] / idle, 3) for p, idle in figures["idle"][name].items()}
        for name in ("execute_ms", "status_ms")
    }
    return {
        "arrivals": arrivals,
        "apart": apart,
        "new_tokens": tokens,
        "placement": server.request("GET", f"streaminfer/api/models/{MODEL}")["placement"],
        "loaded_over_idle": ratios,
        "tokens_per_second_meanwhile": speeds,
        "samples": {state: len(samples) for state, samples in executes.items()},
        **figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=128, help="of each stream, or on average")
    parser.add_argument(
        "--arrivals",
        choices=["poisson", "lockstep"],
        default="poisson",
        help="drawn lengths, so that streams begin and end each by itself; or equal ones, all at once",
    )
    parser.add_argument("--placement", choices=["auto", "thread", "process"], default="auto", help="of the model")
    parser.add_argument(
        "--apart", action="store_true", help="the clients and the model (in a process) on one core, the server not"
    )
    parser.add_argument("--name", default="neighbour", help="of the file of results")
    options = parser.parse_args()
    if options.apart and (options.placement == "thread" or not two_cores()[1]):
        parser.error("--apart wants two cores that can be chosen, and the model in a process")
    arguments = (options.rounds, options.seconds, options.tokens, options.arrivals, options.placement, options.apart)
    with live_server.running() as server:
        print(keep(options.name, asyncio.run(measure(server, *arguments))))


if __name__ == "__main__":
    main()
