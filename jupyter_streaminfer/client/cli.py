"""``jupyter streaminfer``: the engine of a running server from a terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, get_args

import msgspec

from jupyter_streaminfer.client.bench import Load, bench
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.connect import connect_to_server, embedded
from jupyter_streaminfer.client.errors import NoServerError
from jupyter_streaminfer.protocol import DType, Metrics, Placement, StreaminferError

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""
GENERATE_OPTIONS = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "stop", "seed", "ignore_eos",
)  # fmt: skip
CANCEL_S = 10.0
"""How long a cancelled stream may take to say so."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 1 after an error, which is one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        with _client(arguments) as client:
            command: Callable[[Client, argparse.Namespace], int] = arguments.command
            return command(client, arguments)
    except StreaminferError as error:
        return _fail(str(error))
    except ExceptionGroup as group:
        return _fail(str(group.exceptions[0]))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain of it once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _client(arguments: argparse.Namespace) -> Client:
    if arguments.embedded:
        client = embedded()
        if "model" in arguments:
            client.load(arguments.model, arguments.path)
        return client
    client_or_none = connect_to_server(arguments.url, arguments.token)
    if client_or_none is None:
        raise NoServerError(
            "No running Jupyter server with jupyter_streaminfer was found. Start one (jupyter lab), name one with "
            "--url and --token, or use --embedded."
        )
    return client_or_none


def _models(client: Client, arguments: argparse.Namespace) -> int:
    _table(
        ("NAME", "STATE", "VERSION", "TASK", "PARAMETERS", "ACTIVE", "PLACEMENT"),
        [
            (
                model.name,
                model.state,
                model.version,
                model.info.task if model.info else "-",
                f"{model.info.parameters:,}" if model.info else "-",
                model.active,
                model.placement,
            )
            for model in client.models()
        ],
    )
    return 0


def _streams(client: Client, arguments: argparse.Namespace) -> int:
    _table(
        ("STREAM", "MODEL", "STATE", "EVENTS", "CONSUMERS", "AGE"),
        [
            (each.stream, each.model, each.state, each.head, each.consumers, f"{each.age_ms / 1000:.1f} s")
            for each in client.streams()
        ],
    )
    return 0


def _metrics(client: Client, arguments: argparse.Namespace) -> int:
    _table(("METRIC", "VALUE"), _rows(client.metrics()))
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


def _load(client: Client, arguments: argparse.Namespace) -> int:
    model = client.load(arguments.name, arguments.path, dtype=arguments.dtype, placement=arguments.placement)
    _say(f"{model.name} is {model.state} after {model.loaded_ms:.0f} ms")
    return 0


def _unload(client: Client, arguments: argparse.Namespace) -> int:
    client.unload(arguments.name)
    return 0


def _generate(client: Client, arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = {name: getattr(arguments, name) for name in GENERATE_OPTIONS}
    if arguments.chat:
        options["messages"] = [{"role": "user", "content": arguments.prompt}]
    else:
        options["prompt"] = arguments.prompt
    stream = client.generate(arguments.model, **options)
    status = 0
    try:
        for delta in stream:
            sys.stdout.write(delta.text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        with suppress(TimeoutError):
            stream.wait(CANCEL_S)
        status = INTERRUPTED
    except BrokenPipeError:
        stream.cancel()
        raise
    _say("")
    if stream.usage is not None:
        _note(f"{stream.usage.completion_tokens} tokens, {stream.finish_reason or stream.state}; {stream.timings!r}")
    return status


def _predict(client: Client, arguments: argparse.Namespace) -> int:
    try:
        with sys.stdin if arguments.file == "-" else open(arguments.file, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        return _fail(f"{arguments.file} is no JSON file: {error}. Give rows of numbers: [[...], ...].")
    inputs = document.get("inputs") if isinstance(document, dict) else document
    for prediction in client.predict(arguments.model, inputs):
        _say(f"{prediction.label}\t{prediction.confidence:.4f}")
    return 0


def _cancel(client: Client, arguments: argparse.Namespace) -> int:
    client.cancel(arguments.id)
    return 0


def _bench(client: Client, arguments: argparse.Namespace) -> int:
    load = Load(arguments.concurrency, arguments.requests, arguments.prompt_tokens, arguments.output_tokens)
    report = bench(client, arguments.model, load)
    _say(report.json() if arguments.json else report.table())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter streaminfer",
        description="Streaming inference in a running Jupyter server. The server of this terminal, or one that runs "
        "here, is found by itself.",
    )
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--url", help="the Jupyter server's base URL")
    where.add_argument(
        "--token", help="its token; better in the variable JUPYTER_TOKEN, where other users cannot see it"
    )
    where.add_argument("--embedded", action="store_true", help="use an engine in this process instead of a server's")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Client, argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[where], help=help, description=help)
        added.set_defaults(command=command)
        return added

    add("models", _models, "list the models")
    add("streams", _streams, "list the streams")
    add("metrics", _metrics, "show what the engine carries, and what it refused")
    load = add("load", _load, "load a model and wait until it is warmed up")
    load.add_argument("name")
    load.add_argument("--path", help="a model folder on the server; absent: the bundled model of that name")
    dtypes = get_args(DType)
    load.add_argument(
        "--dtype", choices=dtypes, default="auto", help="what the weights are kept in (default: as stored)"
    )
    load.add_argument(
        "--placement", choices=get_args(Placement), default="auto",
        help="where it computes (default: as the server is configured)",
    )  # fmt: skip
    add("unload", _unload, "end a model's streams and free it").add_argument("name")
    generate = _with_model(add("generate", _generate, "generate text; Ctrl-C cancels it"))
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
    predict = _with_model(add("predict", _predict, "classify rows of numbers"))
    predict.add_argument("file", help="a JSON file of rows, [[...], ...]; - reads standard input")
    add("cancel", _cancel, "end a stream").add_argument("id")
    measure = _with_model(add("bench", _bench, "measure times to first token and between tokens under load"))
    measure.add_argument("--concurrency", type=_positive, default=8, help="requests under way at once (8)")
    measure.add_argument("--requests", type=_positive, default=64, help="requests in all (64)")
    measure.add_argument("--prompt-tokens", type=_positive, default=64, help="random tokens in each prompt (64)")
    measure.add_argument("--output-tokens", type=_positive, default=64, help="new tokens of each (64)")
    measure.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _with_model(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("model")
    parser.add_argument("--path", help="with --embedded: the model's folder; absent: the bundled model of that name")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    cells = [header, *(tuple(str(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        _say("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _fail(reason: str) -> int:
    _note(f"jupyter streaminfer: {' '.join(reason.split())}")
    return 1
