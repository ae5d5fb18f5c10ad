"""The commands that show what the engine measures of itself."""

from __future__ import annotations

import argparse
import queue
import time

import msgspec

from jupyter_streaminfer.client.cli.commands import Commands, positive
from jupyter_streaminfer.client.cli.output import note, say, table
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.loop import INTERRUPTIBLE_S
from jupyter_streaminfer.client.metrics_frame import flat
from jupyter_streaminfer.protocol import Distribution, Metrics, Sample, StreaminferError, Watching

WAIT_S = INTERRUPTIBLE_S or 1.0
COLUMNS = ("UTC", "STREAMS", "TOKENS/S", "REQUESTS/S", "TTFT P50", "P95", "ITL P50", "P95", "FAILED", "LAG", "ALERTS")
WIDTHS = (8, 7, 9, 10, 8, 8, 8, 8, 7, 6, 6)
EVERY = 20
"""Lines from one header to the next."""


def add_to(commands: Commands) -> None:
    """Add them."""
    metrics = commands.add("metrics", _metrics, "show what the engine carries, and what it refused")
    metrics.add_argument("--json", action="store_true", help="print JSON instead of a table")
    watch = commands.add("watch", _watch, "show a line of figures each second, until Ctrl-C")
    watch.add_argument("--lines", type=positive, help="end after so many")
    commands.add("alerts", _alerts, "list the bounds on figures, and whether they are kept")


def _metrics(client: Client, arguments: argparse.Namespace) -> int:
    metrics = client.metrics()
    if arguments.json:
        say(msgspec.json.format(msgspec.json.encode(metrics)).decode())
    else:
        rows = flat(metrics).items()
        table(("METRIC", "VALUE"), [(name, round(value, 3)) for name, value in rows if value == value and name != "at"])
    return 0


def _watch(client: Client, arguments: argparse.Namespace) -> int:
    told: queue.SimpleQueue[Sample | Watching | StreaminferError] = queue.SimpleQueue()
    lines = 0
    with client.metrics.watch(told.put, on_lost=told.put) as subscription:
        while arguments.lines is None or lines < arguments.lines:
            try:
                message = told.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            if isinstance(message, StreaminferError):
                if subscription.closed:
                    raise message
                note(f"{message} It is looked for again.")
            elif not isinstance(message, Watching):
                if lines % EVERY == 0:
                    _line(COLUMNS)
                lines += 1
                _line(_figures(message.metrics))  # type: ignore[union-attr]
    return 0


def _alerts(client: Client, arguments: argparse.Namespace) -> int:
    table(
        ("ALERT", "STATE", "VALUE", "BOUND", "FIRED", "SET BY"),
        [
            (
                each.name,
                "firing" if each.firing else "-",
                "-" if each.value is None else f"{each.value:g}",
                f"{each.rule.above:g}",
                each.fired,
                "configuration" if each.configured else "request",
            )
            for each in client.alerts()
        ],
    )
    return 0


def _figures(metrics: Metrics) -> list[str]:
    traffic, latencies = metrics.traffic, metrics.latencies
    return [
        time.strftime("%H:%M:%S", time.gmtime(metrics.at)),
        f"{metrics.streams_open:,}",
        f"{traffic.tokens_out_per_s:,.1f}",
        f"{traffic.requests_per_s:,.1f}",
        *_quantiles(latencies.ttft_ms),
        *_quantiles(latencies.itl_ms),
        "-" if traffic.error_rate is None else f"{traffic.error_rate:.1%}",
        f"{metrics.loop_lag_ms:.1f}",
        f"{len(metrics.alerts)}",
    ]


def _quantiles(times: Distribution | None) -> list[str]:
    return ["-", "-"] if times is None else [f"{times.p50:.1f}", f"{times.p95:.1f}"]


def _line(cells: list[str] | tuple[str, ...]) -> None:
    say("  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)))
