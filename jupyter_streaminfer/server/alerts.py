"""``streaminfer/api/alerts``, and the option ``alerts``: bounds on what is measured, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web
from traitlets import Dict, List, TraitError

from jupyter_streaminfer.engine import checked_rules
from jupyter_streaminfer.protocol import AlertRule, AlertRules, StreaminferError
from jupyter_streaminfer.server.base import RestHandler

_rules = msgspec.json.Decoder(AlertRules)


class AlertsHandler(RestHandler):
    """Every rule and how it stands. Asking keeps no idle server alive."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"alerts": [Alert, ...]}``, those of the configuration first."""
        self.reply({"alerts": self.engine.alerts()})

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """Have the `AlertRules` instead of those asked for before; answers like `get`."""
        self.reply({"alerts": self.engine.set_alerts(self.body(_rules).rules)})


class Rules(List[Any]):
    """The fields of an `AlertRule`, of each rule."""

    def __init__(self, **metadata: Any) -> None:
        super().__init__(trait=Dict(), **metadata)

    def validate(self, obj: Any, value: Any) -> Any:
        """The same; raises `TraitError` for what is no rule."""
        value = super().validate(obj, value)
        alert_rules(value)
        return value


def alert_rules(rules: Sequence[Mapping[str, Any]]) -> list[AlertRule]:
    """The rules of the configuration; raises `TraitError` that names the rule and the field."""
    try:
        return checked_rules(msgspec.convert({"rules": list(rules)}, AlertRules).rules)
    except (msgspec.ValidationError, StreaminferError) as error:
        raise TraitError(f"StreaminferApp.alerts: {error}") from None


default_handlers = [(r"/streaminfer/api/alerts", AlertsHandler)]
