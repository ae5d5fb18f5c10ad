"""What Jupyter's configuration files and its command line say about the extension, read again while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from jupyter_core.application import JupyterApp
from traitlets import TraitError
from traitlets.config import Config, LoggingConfigurable

from jupyter_streaminfer.engine import ModelBounds
from jupyter_streaminfer.protocol import Reloaded, StreaminferError
from jupyter_streaminfer.server.alerts import alert_rules

if TYPE_CHECKING:
    from jupyter_streaminfer.server.app import StreaminferApp

BASE = "jupyter_config"
"""The files that every program of Jupyter's reads first."""
FIXED = {field.name for field in fields(ModelBounds)} | {
    "frames", "idle_unload_s", "opentelemetry", "prediction_cache_bytes", "prediction_cache_s", "preload", "state_dir",
    "store_dir",
}  # fmt: skip
"""Options that hold only after a restart: what models are made with, and what the engine reads once."""


class Configuration:
    """The extension's options: what they were at the start, and what became of them since."""

    def __init__(self, app: StreaminferApp) -> None:
        self._app = app
        self._said: dict[str, Any] = {}
        """Each option's value by the files and the command line, as they were read last."""
        self._reloading = asyncio.Lock()

    async def start(self) -> None:
        """Note what the files say now, so that what another hand set is not taken for a change later."""
        try:
            self._said = await self._read()
        except StreaminferError as error:
            self._app.log.warning("%s", error)
            self._said = self._values()

    async def reload(self) -> Reloaded:
        """Take over what the files say otherwise than when they were read last, and bring the models in line.

        Raises `StreaminferError`, and changes nothing, where a file is broken or a value cannot be.
        """
        async with self._reloading:
            said = await self._read()
            changes = {name: value for name, value in said.items() if value != self._said.get(name)}
            self._said = said
            options = self._take_over({name: value for name, value in changes.items() if name not in FIXED})
            engine = self._app.engine
            done = [] if engine is None else await engine.reload(self._app.configured_models())
            return Reloaded(done, options, sorted(FIXED & changes.keys()))

    def _take_over(self, changes: dict[str, Any]) -> dict[str, str]:
        """Have options hold from now on; returns them in words."""
        app = self._app
        for name, value in changes.items():
            setattr(app, name, value)
        app.gate.limit(app.max_connections, app.max_connections_per_client)
        if app.engine is not None:
            app.engine.config.change(changes)
            if "alerts" in changes:
                app.engine.set_alerts(alert_rules(app.alerts), configured=True)
        return {name: str(value) for name, value in changes.items() if name != "models"}

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self._app, name) for name in _option_names(type(self._app))}

    async def _read(self) -> dict[str, Any]:
        serverapp = self._app.serverapp
        assert serverapp is not None  # noqa: S101 (the extension was linked before it was started)
        try:
            config = await asyncio.to_thread(_merged, [self._app, serverapp])
        except (Exception, SystemExit) as error:
            raise StreaminferError(
                "invalid_request",
                f"The configuration cannot be read, and nothing was changed: {type(error).__name__}: {error}. Mend it.",
            ) from error
        config.merge(self._app.cli_config)
        config.merge(serverapp.cli_config)
        try:
            options = _options_of(type(self._app))(config=config, log=self._app.log)
        except TraitError as error:
            raise StreaminferError(
                "invalid_request", f"The configuration is not as it must be, and nothing was changed: {error} Mend it."
            ) from error
        return {name: getattr(options, name) for name in _option_names(type(self._app))}


def _option_names(app: type[StreaminferApp]) -> list[str]:
    """The extension's own options."""
    return list(app.class_own_traits(config=True))


def _options_of(app: type[StreaminferApp]) -> type[LoggingConfigurable]:
    """A class with the extension's options and nothing else: a second application would set up logging anew."""
    traits = {name: deepcopy(trait) for name, trait in app.class_own_traits(config=True).items()}
    return type(app.__name__, (LoggingConfigurable,), traits)


def _merged(apps: list[JupyterApp]) -> Config:
    """What the files of some programs say together; a later program goes before an earlier one."""
    config = Config()
    for app in apps:
        for each in _files(app):
            config.merge(each)
    return config


def _files(app: JupyterApp) -> Iterator[Config]:
    """What the files of a program say, in the order in which it reads them."""
    paths = app.config_file_paths
    for name, places in ((BASE, paths), (app.config_file or app.config_file_name, None if app.config_file else paths)):
        stem = name.removesuffix(".py").removesuffix(".json")
        for config, _ in app._load_config_files(stem, path=places, log=app.log, raise_config_file_errors=True):
            yield config
