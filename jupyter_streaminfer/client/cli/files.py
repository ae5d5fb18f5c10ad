"""The commands that bring a model's files into the server's store, and out of it again."""

from __future__ import annotations

import argparse

from jupyter_streaminfer.client.cli.commands import Commands
from jupyter_streaminfer.client.cli.output import amount, say, watched
from jupyter_streaminfer.client.client import Client


def add_to(commands: Commands) -> None:
    """Add them."""
    upload = commands.add("upload", _upload, "bring a folder's files into the server's store", "name", "folder")
    upload.add_argument("--version", help="what the version is called there (default: the next number)")
    upload.add_argument("--swap", action="store_true", help="then load it, and go over to it")
    download = commands.add("download", _download, "bring a version's files into a folder", "name", "folder")
    download.epilog = "NAME@VERSION brings that version, NAME the latest."


def _upload(client: Client, arguments: argparse.Namespace) -> int:
    stored = client.upload(arguments.name, arguments.folder, version=arguments.version, progress=watched())
    size = amount(sum(file.size for file in stored.files))
    say(f"{stored.name} {stored.version}: {len(stored.files)} files, {size}, in {stored.path}")
    if arguments.swap:
        there = any(model.name == stored.name and model.state != "failed" for model in client.models())
        become = client.swap if there else client.load
        model = become(stored.name, stored.path, version=stored.version, progress=watched())
        say(f"{model.name} is {model.state} after {model.loaded_ms:.0f} ms (version {model.version})")
    return 0


def _download(client: Client, arguments: argparse.Namespace) -> int:
    say(str(client.download(arguments.name, arguments.folder, progress=watched())))
    return 0
