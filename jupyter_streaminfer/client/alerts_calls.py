"""`Client.alerts`: bounds on figures, and whether they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from jupyter_streaminfer.client.alert_table import AlertTable
from jupyter_streaminfer.protocol import AlertRule, AlertRules

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_streaminfer.client.client import Client


class AlertsCalls:
    """Called, it lists the alerts; `set` changes those that are not of the server's configuration."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self) -> AlertTable:
        """Every rule and how it stands; in a notebook a table."""
        return AlertTable(self._client._call(self._client._transport.alerts()))

    def set(self, rules: Sequence[AlertRule | Mapping[str, Any]]) -> AlertTable:
        """Have these rules hold from now on, such as ``[{"metric": "ttft_p95_ms", "above": 500, "for_s": 10}]``.

        They take the place of those that anybody set before; those of the server's configuration stay. ``[]``: none.
        The fields are explained at `protocol.AlertRule`.
        """
        plain = [rule if isinstance(rule, AlertRule) else dict(rule) for rule in rules]
        wanted = AlertRules(cast(list[AlertRule], plain))
        return AlertTable(self._client._call(self._client._transport.set_alerts(wanted)))

    def to_frame(self) -> pd.DataFrame:
        """One row a rule, as `AlertTable.to_frame`."""
        return self().to_frame()

    def __repr__(self) -> str:
        return "<alerts: call it for a list; set([...]), to_frame()>"
