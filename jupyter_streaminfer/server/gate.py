"""How many connections there may be: in all, and of one client."""

from __future__ import annotations

from collections import Counter

from jupyter_streaminfer.protocol import StreaminferError


class Gate:
    """Counts what is connected: WebSockets and readers of server-sent events."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self.limit(most, most_per_client)
        self._clients: Counter[str] = Counter()

    def __len__(self) -> int:
        """Connections."""
        return self._clients.total()

    def limit(self, most: int, most_per_client: int) -> None:
        """Let so many in from now on; who is in stays."""
        self._most = most
        self._most_per_client = most_per_client

    def check(self, client: str) -> None:
        """Refuse one more connection of a client where it would be too many, with a `StreaminferError`."""
        if len(self) >= self._most:
            raise StreaminferError(
                "overloaded",
                f"{self._most} connections are open, the most this server has (c.StreaminferApp.max_connections). "
                "Connect again when another was closed.",
                retryable=True,
            )
        if self._clients[client] >= self._most_per_client:
            raise StreaminferError(
                "overloaded",
                f"You have {self._most_per_client} connections, the most one client may have "
                "(c.StreaminferApp.max_connections_per_client). Send your requests on one of them, or close some.",
                retryable=True,
            )

    def enter(self, client: str) -> None:
        """Count one more connection of a client."""
        self._clients[client] += 1

    def leave(self, client: str) -> None:
        """Count one less."""
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
