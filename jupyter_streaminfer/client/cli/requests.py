"""The commands that ask models something, and that look at what is under way."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress

import msgspec

from jupyter_streaminfer.client.bench import Load, bench
from jupyter_streaminfer.client.cli.commands import Commands, positive
from jupyter_streaminfer.client.cli.output import duration, fail, note, say, table
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.sampling import add_sampling, asked
from jupyter_streaminfer.protocol import Delta, Prediction

CANCEL_S = 10.0
"""How long a cancelled stream may take to say so."""
INTERRUPTED = 130


def add_to(commands: Commands) -> None:
    """Add them."""
    generate = commands.add_for_model("generate", _generate, "generate text; Ctrl-C cancels it")
    generate.add_argument("prompt")
    add_sampling(generate)
    predict = commands.add_for_model("predict", _predict, "predict for rows of inputs")
    predict.add_argument("file", help="a JSON file of rows, [[...], ...]; - reads standard input")
    commands.add("streams", _streams, "list the streams")
    commands.add("cancel", _cancel, "end a stream", "id")
    measure = commands.add_for_model("bench", _bench, "measure times to first token and between tokens under load")
    measure.add_argument("--concurrency", type=positive, default=8, help="requests under way at once (8)")
    measure.add_argument("--requests", type=positive, default=64, help="requests in all (64)")
    measure.add_argument("--prompt-tokens", type=positive, default=64, help="random tokens in each prompt (64)")
    measure.add_argument("--output-tokens", type=positive, default=64, help="new tokens of each (64)")
    measure.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _generate(client: Client, arguments: argparse.Namespace) -> int:
    stream = client.generate(arguments.model, **asked(arguments, arguments.prompt))
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
        ("STREAM", "MODEL", "STATE", "TOKENS", "TOKENS/S", "TTFT", "CONSUMERS", "AGE", "ODD"),
        [
            (
                each.stream,
                each.model,
                each.state,
                each.tokens,
                "-" if each.tokens_per_s is None else f"{each.tokens_per_s:.1f}",
                "-" if each.ttft_ms is None else f"{each.ttft_ms:.1f} ms",
                each.consumers,
                duration(each.age_ms / 1000),
                ", ".join(each.odd),
            )
            for each in client.streams()
        ],
    )
    return 0


def _cancel(client: Client, arguments: argparse.Namespace) -> int:
    client.cancel(arguments.id)
    return 0


def _bench(client: Client, arguments: argparse.Namespace) -> int:
    load = Load(arguments.concurrency, arguments.requests, arguments.prompt_tokens, arguments.output_tokens)
    report = bench(client, arguments.model, load)
    say(report.json() if arguments.json else report.table())
    return 0
