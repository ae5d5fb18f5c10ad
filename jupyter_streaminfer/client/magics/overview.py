"""How the engine is, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.status import ModelTable
from jupyter_streaminfer.protocol import Health, Metrics


@dataclass(frozen=True, repr=False)
class Overview:
    """What ``%streaminfer`` returns."""

    url: str | None
    """The server's; None for an engine in this process."""
    health: Health
    metrics: Metrics
    models: ModelTable

    @classmethod
    def of(cls, client: Client) -> Overview:
        """As it is now."""
        return cls(client.url, client.health(), client.metrics(), client.models())

    def __repr__(self) -> str:
        where = self.url or "engine in this process"
        lines = [f"{where}: {self.health.status}, jupyter_streaminfer {self.health.version}", repr(self.metrics)]
        lines += [repr(model) for model in self.models] or ["no model is loaded: %streaminfer load demo"]
        return "\n".join(lines)
