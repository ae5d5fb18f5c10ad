"""Alerts: bounds on what is measured, and who is told when one is passed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import msgspec

from jupyter_streaminfer.engine.alert_figures import BARE, figure, named, said
from jupyter_streaminfer.protocol import (
    MAX_ALERT_RULES,
    NAME_PATTERN,
    Alert,
    AlertRule,
    AlertRules,
    Metrics,
    StreaminferError,
    invalid_request,
)

CALM = 0.9
"""The part of its bound at or below which a figure is calm again: one that stays at the bound does not flap."""
CALM_S = 5.0
"""How long it must be calm, or there must be nothing to measure, until its alert ends."""

_log = logging.getLogger(__name__)


class _State:
    """One rule and how it stands."""

    def __init__(self, rule: AlertRule, *, configured: bool) -> None:
        self.rule = rule
        self.configured = configured
        self.name = named(rule)
        self.value: float | None = None
        self.since: float | None = None
        """When it began to fire, in seconds of Unix time; None while it does not."""
        self.fired = 0
        self._above: float | None = None
        self._calm: float | None = None
        """Since when the figure is above its bound, and since when it is calm, on the monotonic clock."""

    @property
    def firing(self) -> bool:
        return self.since is not None

    def look(self, metrics: Metrics, now: float) -> bool:
        """Take a sample in; whether it began or ceased to fire."""
        rule = self.rule
        value = self.value = figure(rule, metrics)
        above = value is not None and value > rule.above
        self._above = (now if self._above is None else self._above) if above else None
        calm = value is None or value <= rule.above * CALM
        self._calm = (now if self._calm is None else self._calm) if calm else None
        if self.firing:
            if self._calm is not None and now - self._calm >= CALM_S:
                self.since = None
                return True
        elif self._above is not None and now - self._above >= rule.for_s:
            self.since = metrics.at
            self.fired += 1
            return True
        return False

    def alert(self) -> Alert:
        """It, as it is told."""
        message = said(self.rule, self.value, firing=self.firing)
        return Alert(self.name, self.rule, self.configured, self.firing, self.value, self.since, self.fired, message)


class Alerts:
    """The rules and how they stand: those of the configuration, and those that somebody asked for.

    A rule fires once its figure has been above its bound for as long as it says. It ceases to once the figure has been
    at or below `CALM` of the bound for `CALM_S`. A figure of which there is nothing to measure is not above anything.
    """

    def __init__(self, on_change: Callable[[Alert], None]) -> None:
        """``on_change`` is told of each alert that begins or ends."""
        self._on_change = on_change
        self._states: dict[bool, list[_State]] = {True: [], False: []}
        """By whether the configuration has them."""

    def all(self) -> list[Alert]:
        """Every rule and how it stands, the configuration's first."""
        return [state.alert() for configured in (True, False) for state in self._states[configured]]

    def firing(self) -> list[Alert]:
        """Those that fire."""
        return [alert for alert in self.all() if alert.firing]

    def set(self, rules: Sequence[AlertRule], *, configured: bool) -> None:
        """Have these rules instead of those of the same kind; one that was there before stays as it stands.

        Raises `StreaminferError`, and changes nothing, where one of them cannot be.
        """
        kept = {state.name: state for state in self._states[configured]}
        states = []
        for rule in checked_rules(rules):
            before = kept.get(named(rule))
            if before is not None and before.rule == rule:
                del kept[before.name]
                states.append(before)
            else:
                states.append(_State(rule, configured=configured))
        self._states[configured] = states
        for state in kept.values():
            if state.firing:
                state.since = None
                self._tell(state)

    def look(self, metrics: Metrics, now: float) -> None:
        """Take a sample in; ``now`` is on the monotonic clock, in seconds."""
        for states in self._states.values():
            for state in states:
                if state.look(metrics, now):
                    self._tell(state)

    def _tell(self, state: _State) -> None:
        try:
            self._on_change(state.alert())
        except Exception:
            _log.exception("Telling of an alert failed")


def checked_rules(rules: Sequence[AlertRule]) -> list[AlertRule]:
    """The same; raises `StreaminferError` that names the rule and the field where one cannot be."""
    try:
        rules = msgspec.convert(msgspec.to_builtins({"rules": rules}), AlertRules).rules
    except msgspec.ValidationError as error:
        if len(rules) > MAX_ALERT_RULES:
            raise StreaminferError(
                "invalid_request",
                f"rules: There are {len(rules)}; {MAX_ALERT_RULES} are allowed. Leave some out.",
                field="rules",
            ) from None
        raise invalid_request(error) from None
    names: set[str] = set()
    for index, rule in enumerate(rules):
        field, wrong = _wrong(rule)
        if not wrong and named(rule) in names:
            field, wrong = "name", "Another rule is called the same. Give it a name of its own, or leave it out."
        if wrong:
            place = f"rules[{index}].{field}"
            raise StreaminferError("invalid_request", f"{place}: {wrong}", field=place)
        names.add(named(rule))
    return list(rules)


def _wrong(rule: AlertRule) -> tuple[str, str]:
    """What is wrong with a rule that fits its type: the field, and what to do; empty where nothing is."""
    if not (math.isfinite(rule.above) and math.isfinite(rule.for_s)):
        return "above", "NaN and Infinity are no bounds. Give a finite number."
    if rule.name is not None and not rule.name.isprintable():
        return "name", "It has characters that cannot be shown. Use letters, digits, spaces and signs on one line."
    if rule.model is not None and not NAME_PATTERN.fullmatch(rule.model):
        return "model", f"{rule.model[:64]!r} is no name of a model. Give the name that it was loaded under."
    if rule.model is not None and rule.metric in BARE:
        return "model", f"{rule.metric} is the whole server's, and no model's. Leave model out."
    return "", ""
