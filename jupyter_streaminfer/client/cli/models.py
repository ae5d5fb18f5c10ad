"""The commands that load, replace, change and free models."""

from __future__ import annotations

import argparse
import json
from typing import Any, get_args

from jupyter_streaminfer.client.cli.commands import Commands, given, positive
from jupyter_streaminfer.client.cli.output import amount, duration, say, table, watched
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.protocol import DType, ModelStatus, Placement

_OF_VERSION = ("version", "dtype", "placement", "signature", "arguments")


def add_to(commands: Commands) -> None:
    """Add them."""
    commands.add("models", _models, "list every version of every model; * marks the latest")
    load = _with_version(commands.add("load", _load, "load a model and wait until it is warmed up", "name"))
    load.add_argument("--pinned", action="store_true", help="never unload it by itself")
    swap = _with_version(commands.add("swap", _swap, "load a new version beside the old, then go over to it", "name"))
    swap.add_argument("--stand-by", action="store_true", help="do not go over to it")
    commands.add("rollback", _rollback, "go back to the version that was the latest before", "name")
    commands.add("activate", _activate, "make a version that stands by the latest", "name", "version")
    unload = commands.add("unload", _unload, "end a model's streams and free it", "name")
    unload.epilog = "NAME@VERSION frees that version alone."
    configure = commands.add("configure", _configure, "change a model while it serves", "name")
    configure.add_argument("--pinned", action=argparse.BooleanOptionalAction, help="never unload it by itself")
    configure.add_argument("--max-batch-size", type=positive, help="rows of one batch at most")
    configure.add_argument("--max-wait-ms", type=float, help="how long a row waits for company at most")
    configure.add_argument(
        "--preferred-batch-sizes", type=_sizes, metavar="N,N...", help="a batch that reaches one need not wait for more"
    )
    configure.add_argument(
        "--latency-target-ms", type=float, help="choose size and wait so that nine of ten rows keep it; 0: off"
    )
    commands.add("reload", _reload, "have the server read its configuration again")


def _models(client: Client, arguments: argparse.Namespace) -> int:
    table(
        (
            "NAME",
            "VERSION",
            "STATE",
            "TASK",
            "PARAMETERS",
            "MEMORY",
            "DEVICE",
            "IDLE",
            "ACTIVE",
            "REQUESTS",
            "PLACEMENT",
        ),
        [
            (
                model.name,
                model.version + ("*" if model.latest else ""),
                _state(model),
                model.info.task if model.info else "-",
                f"{model.info.parameters:,}" if model.info else "-",
                amount(model.memory_bytes),
                model.info.device if model.info else "-",
                duration(model.idle_s),
                model.active,
                model.requests,
                model.placement,
            )
            for model in client.models()
        ],
    )
    return 0


def _state(model: ModelStatus) -> str:
    progress = model.progress
    if progress is None:
        return f"{model.state}, pinned" if model.pinned else model.state
    part = f" {progress.done_bytes / progress.total_bytes:.0%}" if progress.total_bytes else ""
    return f"{model.state}: {progress.stage}{part}"


def _load(client: Client, arguments: argparse.Namespace) -> int:
    options = given(arguments, *_OF_VERSION)
    _ready(client.load(arguments.name, arguments.path, pinned=arguments.pinned, progress=watched(), **options))
    return 0


def _swap(client: Client, arguments: argparse.Namespace) -> int:
    options = given(arguments, *_OF_VERSION) | {"activate": not arguments.stand_by}
    _ready(client.swap(arguments.name, arguments.path, progress=watched(), **options))
    return 0


def _rollback(client: Client, arguments: argparse.Namespace) -> int:
    _ready(client.rollback(arguments.name, progress=watched()))
    return 0


def _activate(client: Client, arguments: argparse.Namespace) -> int:
    _ready(client.activate(arguments.name, arguments.version))
    return 0


def _unload(client: Client, arguments: argparse.Namespace) -> int:
    client.unload(arguments.name)
    return 0


def _configure(client: Client, arguments: argparse.Namespace) -> int:
    settings = given(arguments, "pinned", "max_batch_size", "max_wait_ms", "preferred_batch_sizes", "latency_target_ms")
    _ready(client.configure(arguments.name, **settings))
    return 0


def _reload(client: Client, arguments: argparse.Namespace) -> int:
    reloaded = client.reload()
    for sentence in reloaded.models:
        say(sentence)
    for name, value in reloaded.options.items():
        say(f"{name} is {value} now.")
    for name in reloaded.restart:
        say(f"{name} changed; that holds after a restart of the server.")
    if not (reloaded.models or reloaded.options or reloaded.restart):
        say("Nothing changed.")
    return 0


def _ready(model: ModelStatus) -> None:
    about = "" if model.latest else ", not the latest"
    say(f"{model.name} is {model.state} after {model.loaded_ms:.0f} ms (version {model.version}{about})")


def _with_version(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """With the options that say what a version is and how it computes."""
    parser.add_argument(
        "--path", help="a model folder or file on the server, or module:factory; absent: the bundled model of that name"
    )
    parser.add_argument("--version", help="what the version is called (default: the next number)")
    parser.add_argument("--dtype", choices=get_args(DType), help="what the weights are kept in (default: as stored)")
    parser.add_argument(
        "--placement", choices=get_args(Placement), help="where it computes (default: as the server is configured)"
    )
    parser.add_argument("--signature", type=_object, metavar="JSON", help="what it takes and gives, where no file says")
    parser.add_argument("--arguments", type=_object, metavar="JSON", help="keyword arguments of a factory")
    return parser


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('must be a JSON object, as in {"size": 3}')
    return value


def _sizes(text: str) -> list[int]:
    return [positive(size) for size in text.split(",")]
