"""Who is let in: each client within its own bounds, and all together within the engine's."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from jupyter_streaminfer.engine.clients import Client, Clients
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.drain import DrainRate
from jupyter_streaminfer.engine.pressure import PERIOD_S, Load
from jupyter_streaminfer.protocol import StreaminferError


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a request would come upon: its model's, and the machine's as it was seen last."""

    cache_used: float = 0.0
    """The part of the model's KV cache that is taken, 0 to 1."""
    waiting: int = 0
    """Requests that wait for a place or for room in the cache."""
    load: Load = field(default_factory=Load)


class Ticket(Struct, eq=False):
    """One admitted request: what it still holds of the engine's bounds, until it is closed."""

    _admission: Admission
    _client: Client
    _tokens: int
    """Those that are not computed."""
    _open: bool = True

    def progress(self, tokens: int) -> None:
        """So many more of its tokens are computed; what goes beyond what it asked for counts for nothing."""
        done = min(tokens, self._tokens)
        self._tokens -= done
        self._admission._done(done)

    def close(self) -> None:
        """It ended: give back its place, and the tokens that it will not take. More than once is as good as once."""
        if self._open:
            self._open = False
            left, self._tokens = self._tokens, 0
            self._admission._end(self._client, left)


class Admission:
    """Refuses with a `StreaminferError`, from which nothing is taken, or gives a `Ticket`.

    A client beyond its own bounds is ``rate_limited``. When all clients together are beyond the engine's, or the
    machine is full, it is ``overloaded``. What can never pass is ``too_large``.
    """

    def __init__(self, config: EngineConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._clients = Clients(config)
        self._drain = DrainRate(clock)
        self.pending = 0
        """Requests admitted and not ended."""
        self.queued_tokens = 0
        """Tokens that these may still take."""
        self.admitted = 0
        """Requests ever admitted."""
        self.refused: Counter[str] = Counter()
        """Requests refused here, by error code."""
        self._good: Load | None = None
        """The last look at the machine that found room."""

    @property
    def clients(self) -> int:
        """Clients with something under way."""
        return self._clients.active

    @property
    def tokens_per_second(self) -> float:
        """At which the queued tokens get done, lately; 0 while there are no requests."""
        return (self._drain.rate or 0.0) if self.pending else 0.0

    def retry_after_ms(self) -> float:
        """How long until all that is queued is done, as the rate is now; for who refuses for reasons of its own."""
        return self._drain.retry_after_ms(self.queued_tokens)

    def admit(self, client: str, tokens: int, backlog: Backlog) -> Ticket:
        """Let a client's request in that may take so many prompt and new tokens, or refuse it."""
        try:
            return self._admit(self._clients.get(client), tokens, backlog)
        except StreaminferError as refusal:
            self.refused[refusal.code] += 1
            raise

    def unbilled(self) -> Ticket:
        """A ticket for what nobody asked for: it holds nothing."""
        return Ticket(self, Client("", self._config), 0, _open=False)

    def _admit(self, client: Client, tokens: int, backlog: Backlog) -> Ticket:
        now, config = self._clock(), self._config
        # The checks tell why; what passes is seen to pass here, as thousands a second do.
        if tokens > config.max_queued_tokens or client.tokens:
            self._check_size(client, tokens)
        if client.pending >= config.max_pending_per_client or client.requests or client.tokens:
            self._check_client(client, tokens, now)
        if self.queued_tokens + tokens > config.max_queued_tokens or backlog.waiting:
            self._check_queue(tokens, backlog)
        if backlog.load is not self._good:
            self._check_machine(backlog.load)
            self._good = backlog.load
        if client.requests:
            client.requests.take(1, now)
        if client.tokens:
            client.tokens.take(tokens, now)
        self._clients.enter(client)
        self._drain.resume()
        self.pending += 1
        self.admitted += 1
        self.queued_tokens += tokens
        return Ticket(self, client, tokens)

    def _check_size(self, client: Client, tokens: int) -> None:
        config = self._config
        for limit, option in (
            (config.client_tokens_burst if client.tokens else math.inf, "client_tokens_burst"),
            (config.max_queued_tokens, "max_queued_tokens"),
        ):
            if tokens > limit:
                raise StreaminferError(
                    "too_large",
                    f"The request may take {tokens} prompt and new tokens; {limit} is the most that one can. "
                    f"Ask for fewer new tokens or shorten the prompt{_set_by(option)}",
                )

    def _check_client(self, client: Client, tokens: int, now: float) -> None:
        config = self._config
        if client.pending >= config.max_pending_per_client:
            raise _refusal(
                "rate_limited",
                f"{client.pending} of this client's requests are not ended, the most it may have. "
                f"Wait for one of them, or cancel one{_set_by('max_pending_per_client')}",
                # Its own part of the tokens is taken to be as large as its part of the requests.
                self._drain.retry_after_ms(self.queued_tokens / client.pending),
            )
        requests_s = client.requests.wait(1, now) if client.requests else 0.0
        tokens_s = client.tokens.wait(tokens, now) if client.tokens else 0.0
        if not requests_s and not tokens_s:
            return
        rate, burst, what, option = (
            (config.client_requests_per_s, config.client_requests_burst, "requests", "client_requests_per_s")
            if requests_s >= tokens_s
            else (config.client_tokens_per_s, config.client_tokens_burst, "tokens", "client_tokens_per_s")
        )
        wait_ms = math.ceil(max(requests_s, tokens_s) * 1e6) / 1e3
        raise _refusal(
            "rate_limited",
            f"This client may have {rate:g} {what} a second, and {burst} at once. "
            f"Ask again in {wait_ms / 1000:.3f} s{_set_by(option)}",
            wait_ms,
        )

    def _check_queue(self, tokens: int, backlog: Backlog) -> None:
        config = self._config
        if (excess := self.queued_tokens + tokens - config.max_queued_tokens) > 0:
            raise _refusal(
                "overloaded",
                f"The engine has {self.queued_tokens} tokens to compute, and takes no more than "
                f"{config.max_queued_tokens} with this request's {tokens}. "
                f"Try again later{_set_by('max_queued_tokens')}",
                self._drain.retry_after_ms(excess),
            )
        if backlog.waiting and backlog.cache_used > config.max_cache_used:
            raise _refusal(
                "overloaded",
                f"The model's KV cache is {backlog.cache_used:.1%} taken and requests wait for it "
                f"({backlog.waiting}); beyond {config.max_cache_used:.1%} none joins them. "
                f"Try again later{_set_by('max_cache_used')}",
                self._drain.retry_after_ms(self._mean_tokens()),
            )

    def _check_machine(self, load: Load) -> None:
        config = self._config
        for used, limit, what, option in (
            (load.memory_used, config.max_memory_used, "memory is", "max_memory_used"),
            (load.gpu_utilisation, config.max_gpu_utilisation, "GPU's time is", "max_gpu_utilisation"),
            (load.gpu_memory_used, config.max_gpu_memory_used, "GPU's memory is", "max_gpu_memory_used"),
        ):
            if used is not None and used > limit:
                raise _refusal(
                    "overloaded",
                    f"The server's {what} {used:.1%} used; beyond {limit:.1%} no request is taken. "
                    f"Try again later, or free some{_set_by(option)}",
                    # Before the next look nothing can have changed.
                    max(PERIOD_S * 1000, self._drain.retry_after_ms(self._mean_tokens())),
                )

    def _mean_tokens(self) -> float:
        """What must get done, on average, until some request ends."""
        return self.queued_tokens / max(self.pending, 1)

    def _done(self, tokens: int) -> None:
        self.queued_tokens -= tokens
        self._drain.note(tokens)

    def _end(self, client: Client, tokens: int) -> None:
        self.queued_tokens -= tokens
        self._drain.note(tokens)
        self.pending -= 1
        if not self.pending:
            self._drain.rest()
        self._clients.leave(client, self._clock())


def _refusal(code: Literal["rate_limited", "overloaded"], message: str, retry_after_ms: float) -> StreaminferError:
    return StreaminferError(code, message, retryable=True, retry_after_ms=retry_after_ms)


def _set_by(option: str) -> str:
    """How a message says who can change the bound."""
    return f"; the server's c.StreaminferApp.{option} sets this bound."
