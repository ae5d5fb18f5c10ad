"""The command that splits a model's requests between its versions, and shows what came of it."""

from __future__ import annotations

import argparse

from jupyter_streaminfer.client.cli.commands import Commands
from jupyter_streaminfer.client.cli.output import say, table
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.protocol import ArmStatus, Interval, RouteStatus, ShadowStatus


def add_to(commands: Commands) -> None:
    """Add it."""
    route = commands.add(
        "route", _route, "split a model's requests between versions; without any: show the split", "name"
    )
    route.add_argument(
        "arms", nargs="*", type=_share, metavar="VERSION=WEIGHT", help="as in 1=0.9 2=0.1; they sum to 1"
    )
    route.add_argument("--canary", type=_share, metavar="VERSION=WEIGHT", help="a version on trial beside them")
    route.add_argument("--shadow", metavar="VERSION", help="a version that is asked too, and only compared")
    route.add_argument("--off", action="store_true", help="split no more: the latest version answers")


def _route(client: Client, arguments: argparse.Namespace) -> int:
    name = arguments.name
    if arguments.off:
        client.route(name, None)
        return 0
    if not arguments.arms:
        _show(client.routed(name))
        return 0
    canary = None if arguments.canary is None else dict(zip(("version", "weight"), arguments.canary, strict=True))
    _show(client.route(name, dict(arguments.arms), canary=canary, shadow=arguments.shadow))
    return 0


def _show(status: RouteStatus) -> None:
    table(
        ("VERSION", "ROLE", "WEIGHT", "REQUESTS", "ERRORS", "REFUSED", "SHARE", "ERROR RATE", "LATENCY", "P95"),
        [_arm(arm) for arm in status.arms],
    )
    if status.shadow is not None:
        say(_shadow(status.shadow))
    if status.waiting:
        say(f"Cannot answer now: {', '.join(status.waiting)}")
    if status.rolled_back is not None:
        say(f"The canary was taken out: {status.rolled_back}")


def _arm(arm: ArmStatus) -> tuple[object, ...]:
    return (
        arm.version,
        arm.role,
        f"{arm.weight:.1%}",
        arm.requests,
        arm.errors,
        arm.refused,
        _part(arm.share),
        _part(arm.error_rate),
        "-" if arm.latency_ms is None else f"{arm.latency_ms.value:.1f} ms",
        "-" if arm.latency_p95_ms is None else f"{arm.latency_p95_ms:.1f} ms",
    )


def _shadow(shadow: ShadowStatus) -> str:
    return (
        f"Shadow {shadow.version}: {shadow.compared} rows compared, {_part(shadow.agreement)} alike, largest "
        f"difference {shadow.largest_difference:.3g}, {shadow.errors} errors, {shadow.dropped} dropped"
    )


def _part(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def _share(text: str) -> tuple[str, float]:
    version, _, weight = text.rpartition("=")
    if not version:
        raise argparse.ArgumentTypeError("must be VERSION=WEIGHT, as in 2=0.1")
    return version, float(weight)
