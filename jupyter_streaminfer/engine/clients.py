"""Who asks: what each client has under way and may still take. Whoever has nothing and may take all is forgotten."""

from __future__ import annotations

import heapq
import math

from jupyter_streaminfer.engine.bucket import Bucket
from jupyter_streaminfer.engine.config import EngineConfig

MAX_RESTING = 10_000
"""Clients without anything under way whose buckets fill again; of more than that, the fullest are forgotten early."""


class Client:
    """One client's buckets, where it is limited, and its requests that are not ended."""

    __slots__ = ("name", "pending", "requests", "resting", "tokens")

    def __init__(self, name: str, config: EngineConfig) -> None:
        self.name = name
        self.pending = 0
        rate = config.client_requests_per_s
        self.requests = Bucket(rate, max(config.client_requests_burst, 1)) if rate > 0 else None
        rate = config.client_tokens_per_s
        self.tokens = Bucket(rate, config.client_tokens_burst) if rate > 0 else None
        self.resting = False
        """Whether it is among those that are looked at to be forgotten."""

    @property
    def full_at(self) -> float:
        """When both buckets will be full if nothing is taken."""
        return max((bucket.full_at for bucket in (self.requests, self.tokens) if bucket), default=-math.inf)


class Clients:
    """The clients by name."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._clients: dict[str, Client] = {}
        self._resting: list[tuple[float, str]] = []
        """A heap: when a client was to be full, as far as was known when it came to rest; each at most once."""

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def active(self) -> int:
        """Clients with something under way."""
        return sum(client.pending > 0 for client in self._clients.values())

    def get(self, name: str) -> Client:
        """The client of that name; a new one is not kept before it is entered."""
        return self._clients.get(name) or Client(name, self._config)

    def enter(self, client: Client) -> None:
        """One more request of the client is under way."""
        client.pending += 1
        self._clients[client.name] = client

    def leave(self, client: Client, now: float) -> None:
        """One of them is ended."""
        client.pending -= 1
        if not client.pending:
            self._rest(client)
        self._forget(now)

    def _rest(self, client: Client) -> None:
        if not client.resting:
            client.resting = True
            heapq.heappush(self._resting, (client.full_at, client.name))

    def _forget(self, now: float) -> None:
        while self._resting and (self._resting[0][0] <= now or len(self._resting) > MAX_RESTING):
            at, name = heapq.heappop(self._resting)
            client = self._clients[name]
            client.resting = False
            if client.pending:
                continue
            if client.full_at > max(at, now):  # it took more since it came to rest
                self._rest(client)
            else:
                del self._clients[name]
