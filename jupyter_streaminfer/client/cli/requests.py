"""The commands that ask models something, and that look at what is under way."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from typing import Any

import msgspec

from jupyter_streaminfer.client.bench import Load, bench
from jupyter_streaminfer.client.cli.commands import Commands, positive
from jupyter_streaminfer.client.cli.output import duration, fail, note, say, table
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.protocol import Delta, Metrics, Prediction

GENERATE_OPTIONS = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "stop", "seed", "ignore_eos",
)  # fmt: skip
CANCEL_S = 10.0
"""How long a cancelled stream may take to say so."""
INTERRUPTED = 130


def add_to(commands: Commands) -> None:
    """Add them."""
    generate = commands.add_for_model("generate", _generate, "generate text; Ctrl-C cancels it")
    generate.add_argument("prompt")
    generate.add_argument("--chat", action="store_true", help="the prompt is a user's turn of a chat")
    generate.add_argument("--max-tokens", type=int, help="new tokens at most (128)")
    generate.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token each time (1)")
    generate.add_argument("--top-k", type=int, default=0, help="draw from the k likeliest tokens (0: from all)")
    generate.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest tokens of that share (1)")
    generate.add_argument("--min-p", type=float, default=0.0, help="drop tokens so much less likely than the first (0)")
    generate.add_argument("--repetition-penalty", type=float, default=1.0, help="of tokens that are there already (1)")
    generate.add_argument("--presence-penalty", type=float, default=0.0, help="of those that the answer has (0)")
    generate.add_argument("--frequency-penalty", type=float, default=0.0, help="the same, times how often (0)")
    generate.add_argument("--stop", action="append", default=[], help="end before this text; may be given repeatedly")
    generate.add_argument("--seed", type=int, help="the same seed gives the same text")
    generate.add_argument("--ignore-eos", action="store_true", help="go on past the model's own end")
    predict = commands.add_for_model("predict", _predict, "predict for rows of inputs")
    predict.add_argument("file", help="a JSON file of rows, [[...], ...]; - reads standard input")
    commands.add("streams", _streams, "list the streams")
    commands.add("cancel", _cancel, "end a stream", "id")
    commands.add("metrics", _metrics, "show what the engine carries, and what it refused")
    measure = commands.add_for_model("bench", _bench, "measure times to first token and between tokens under load")
    measure.add_argument("--concurrency", type=positive, default=8, help="requests under way at once (8)")
    measure.add_argument("--requests", type=positive, default=64, help="requests in all (64)")
    measure.add_argument("--prompt-tokens", type=positive, default=64, help="random tokens in each prompt (64)")
    measure.add_argument("--output-tokens", type=positive, default=64, help="new tokens of each (64)")
    measure.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _generate(client: Client, arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = {name: getattr(arguments, name) for name in GENERATE_OPTIONS}
    if arguments.chat:
        options["messages"] = [{"role": "user", "content": arguments.prompt}]
    else:
        options["prompt"] = arguments.prompt
    stream = client.generate(arguments.model, **options)
    status = 0
    try:
        for piece in stream:
            if isinstance(piece, Delta):
                sys.stdout.write(piece.text)
                sys.stdout.flush()
    except KeyboardInterrupt:
        with suppress(TimeoutError):
            stream.wait(CANCEL_S)
        status = INTERRUPTED
    except BrokenPipeError:
        stream.cancel()
        raise
    say("")
    if stream.usage is not None:
        note(f"{stream.usage.completion_tokens} tokens, {stream.finish_reason or stream.state}; {stream.timings!r}")
    return status


def _predict(client: Client, arguments: argparse.Namespace) -> int:
    try:
        with sys.stdin if arguments.file == "-" else open(arguments.file, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        return fail(f"{arguments.file} is no JSON file: {error}. Give rows of numbers: [[...], ...].")
    inputs = document.get("inputs") if isinstance(document, dict) else document
    for output in client.predict(arguments.model, inputs):
        if isinstance(output, Prediction):
            say(f"{output.label}\t{output.confidence:.4f}")
        else:
            say(msgspec.json.encode(output, enc_hook=lambda array: array.tolist()).decode())
    return 0


def _streams(client: Client, arguments: argparse.Namespace) -> int:
    table(
        ("STREAM", "MODEL", "STATE", "EVENTS", "CONSUMERS", "AGE"),
        [
            (each.stream, each.model, each.state, each.head, each.consumers, duration(each.age_ms / 1000))
            for each in client.streams()
        ],
    )
    return 0


def _cancel(client: Client, arguments: argparse.Namespace) -> int:
    client.cancel(arguments.id)
    return 0


def _metrics(client: Client, arguments: argparse.Namespace) -> int:
    table(("METRIC", "VALUE"), _rows(client.metrics()))
    return 0


def _rows(metrics: Metrics) -> list[tuple[Any, ...]]:
    """One for each number; those by error code or deadline as ``refused.overloaded``."""
    rows: list[tuple[Any, ...]] = []
    for name, value in msgspec.structs.asdict(metrics).items():
        if isinstance(value, dict):
            rows += [(f"{name}.{key}", count) for key, count in sorted(value.items())]
        elif value is not None:
            rows.append((name, round(value, 3)))
    return rows


def _bench(client: Client, arguments: argparse.Namespace) -> int:
    load = Load(arguments.concurrency, arguments.requests, arguments.prompt_tokens, arguments.output_tokens)
    report = bench(client, arguments.model, load)
    say(report.json() if arguments.json else report.table())
    return 0
