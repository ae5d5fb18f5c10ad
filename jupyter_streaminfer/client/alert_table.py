"""Alerts as a notebook shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_streaminfer.client.status import table
from jupyter_streaminfer.protocol import Alert

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("name", "metric", "model", "above", "for_s", "configured", "firing", "value", "since", "fired")


class AlertTable(list[Alert]):
    """Rules and how they stand: a list, and a table in a notebook."""

    def to_frame(self) -> pd.DataFrame:
        """One row a rule: ``name``, ``metric``, ``model`` (empty: everything together), ``above``, ``for_s``,
        ``configured``, ``firing``, ``value``, ``since`` (UTC), ``fired``.
        """
        import pandas as pd

        rows = [
            (
                each.name, each.rule.metric, each.rule.model or "", each.rule.above, each.rule.for_s,
                each.configured, each.firing, each.value, each.since, each.fired,
            )
            for each in self
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": "float64", "since": "float64"})
        frame["since"] = pd.to_datetime(frame["since"], unit="s", utc=True)
        return frame

    def _repr_html_(self) -> str:
        rows = [
            [
                each.name,
                "firing" if each.firing else "",
                "" if each.value is None else f"{each.value:g}",
                f"{each.rule.above:g}",
                f"{each.fired}",
                "configuration" if each.configured else "",
            ]
            for each in self
        ]
        return table("", ("alert", "state", "value", "above", "fired", "set by"), rows)
