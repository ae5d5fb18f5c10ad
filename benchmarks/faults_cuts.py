"""Connections that are cut all the time: every text is its reference all the same."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from faults_bench import MODEL, FaultyProxy, Outcome, all_closed, port, through
from faults_reader import Reader, generate, read_all
from live_server import Server
from models import VOCABULARY
from workload import Prompts

from jupyter_streaminfer.client import Client, ConnectionLostError, connect
from jupyter_streaminfer.protocol import Delta, StreaminferError

PROMPT_TOKENS = 16
STREAMS_A_CLIENT = 4
"""Of the Python client, which has one connection for all of its streams; a raw reader has its own."""
PATIENCE_S = 300.0
GRACE_S = 60.0
"""How long generations whose answer was lost may go on unread."""


@dataclass
class Read:
    """What a stream of the Python client brought."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    ending: str = "lost"
    reconnects: int = 0
    asked: int = 0
    faults: list[str] = field(default_factory=list)


async def cuts(server: Server, *, streams: int = 200, tokens: int = 256, cut_s: float = 1.0) -> Outcome:
    """Half of the streams by the Python client, half by raw WebSocket readers, through one proxy."""
    prompts = Prompts(VOCABULARY, "cuts")
    requests = [generate(prompts.draw(PROMPT_TOKENS), tokens) for _ in range(streams)]
    references = await read_all(server, requests)
    half = streams // 2
    with FaultyProxy(port(server), cut_every_s=cut_s) as proxy:
        proxied = through(server, proxy)
        began = time.monotonic()
        by_client = asyncio.create_task(asyncio.to_thread(_by_client, proxied, requests[:half]))
        raw = await read_all(proxied, requests[half:], "raw")
        reads = await by_client
        took = time.monotonic() - began
    found: list[Read | Reader] = [*reads, *raw]
    outcome = Outcome(
        f"{half} streams by the Python client ({STREAMS_A_CLIENT} a connection) and {streams - half} by raw WebSocket "
        f"readers (one each), {tokens} greedy tokens each, through a proxy that cuts every connection {cut_s:g} s "
        "after it was made; the references are the same requests without the proxy"
    )
    pairs = list(zip(references, found, strict=True))
    outcome.equal("references that completed", streams, sum(each.ending == "completed" for each in references))
    outcome.equal("streams that completed", streams, sum(each.ending == "completed" for each in found))
    outcome.equal("texts that equal their reference", streams, sum(a.text == b.text for a, b in pairs))
    outcome.equal("token ids that equal theirs", streams, sum(a.token_ids == b.token_ids for a, b in pairs))
    outcome.equal("gaps, repeats and second ends", [], [fault for each in found for fault in each.faults][:5])
    again = sum(each.reconnects for each in reads) + sum(each.connections - 1 for each in raw)
    outcome.at_least("how often a stream went on over another connection", 1, again)
    outcome.equal("all streams closed on the server afterwards", True, await all_closed(server, GRACE_S))
    outcome.figures = {
        "seconds": round(took, 1),
        "connections": proxy.connections,
        "cuts": proxy.cuts,
        "reconnects_of_a_client_stream": _spread([each.reconnects for each in reads]),
        "reconnects_of_a_raw_reader": _spread([each.connections - 1 for each in raw]),
        "asked_again_as_no_answer_came": sum(each.asked - 1 for each in found),
        "endings_other_than_completed": sorted({each.ending for each in found} - {"completed"}),
    }
    return outcome


def _spread(values: list[int]) -> dict[str, float]:
    return {"least": min(values), "median": median(values), "most": max(values)} if values else {}


def _by_client(server: Server, requests: list[dict]) -> list[Read]:  # type: ignore[type-arg]
    """Every request through the Python client, all at once."""
    clients = [_connect(server) for _ in range(0, len(requests), STREAMS_A_CLIENT)]
    try:
        with ThreadPoolExecutor(max(1, len(requests))) as pool:
            places = [clients[index // STREAMS_A_CLIENT] for index in range(len(requests))]
            return list(pool.map(_read, places, requests))
    finally:
        for client in clients:
            client.close()


def _connect(server: Server) -> Client:
    """`connect` asks one question, whose connection may be the one that is cut."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return connect(server.url, server.token, reconnect_s=PATIENCE_S)
        except ConnectionLostError:
            if time.monotonic() > until:
                raise


def _read(client: Client, request: dict) -> Read:  # type: ignore[type-arg]
    options = {name: value for name, value in request.items() if name not in ("type", "model")}
    read = Read()
    stream = None
    try:
        while stream is None:
            read.asked += 1
            try:
                stream = client.generate(MODEL, **options)
            except ConnectionLostError as error:
                # Whether the server took it is not known, so the client leaves it to us to ask again.
                if read.asked >= 100:
                    read.ending = str(error)
                    return read
        deltas: list[Delta] = list(stream.wait(PATIENCE_S))
        read.ending = stream.state
        ends = [-1] + [each.seq if each.last is None else each.last for each in deltas]
        for delta, (before, _) in zip(deltas, pairwise(ends), strict=True):
            if delta.seq != before + 1:
                read.faults.append(f"event {delta.seq} after {before}")
    except (StreaminferError, TimeoutError) as error:
        read.ending = f"{stream.state if stream else 'refused'}: {error}"
    if stream is not None:
        read.text, read.token_ids, read.reconnects = stream.text, stream.token_ids, stream.reconnects
    return read
