"""The extension: its configuration, its start, and its orderly end."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Bool, Enum, Float, Integer, List, Unicode, default

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.protocol import LoadModel, StreamStatus
from jupyter_streaminfer.server import (
    alerts,
    downloads,
    health,
    metrics,
    models,
    reload,
    routes,
    streams,
    uploads,
    versions,
    ws,
)
from jupyter_streaminfer.server.activity import Activity
from jupyter_streaminfer.server.address import Announcement, local_url
from jupyter_streaminfer.server.alerts import Rules, alert_rules
from jupyter_streaminfer.server.configuration import Configuration
from jupyter_streaminfer.server.configured_models import Models, load_requests
from jupyter_streaminfer.server.connection import Connection
from jupyter_streaminfer.server.events import JupyterEvents
from jupyter_streaminfer.server.gate import Gate
from jupyter_streaminfer.server.openai import default_handlers as openai_handlers
from jupyter_streaminfer.server.otel import Telemetry
from jupyter_streaminfer.server.prometheus import EngineCollector
from jupyter_streaminfer.server.reload import HangUp
from jupyter_streaminfer.server.secret import Secret
from jupyter_streaminfer.server.takeover import available
from jupyter_streaminfer.server.writes import Writes

T = TypeVar("T")

GOODBYE = "the server stops"
GOODBYE_S = 1.0
"""How long a client has to answer the goodbye, in seconds; one that reads nothing cannot."""

_DEFAULTS = EngineConfig()


def _count(default: int, help: str, min: int = 1) -> Any:
    return Integer(default, min=min, help=help).tag(config=True)


def _amount(default: float, help: str, min: float = 0.0) -> Any:
    return Float(default, min=min, help=help).tag(config=True)


def _part(default: float, help: str) -> Any:
    return Float(default, min=0.0, max=1.0, help=help).tag(config=True)


class StreaminferApp(ExtensionApp):
    """Streaming inference inside the Jupyter server."""

    name = "jupyter_streaminfer"
    description = "Streaming inference inside the Jupyter server."
    load_other_extensions = True

    preload = List(Unicode(), help="Names of bundled models to load when the server starts, in the background.").tag(
        config=True
    )
    models = Models(
        help="Models to load when the server starts, in the background, and to bring in line when the configuration is "
        "read again: by their names, the fields of LoadModel, as in {'a': {'path': '/models/a', 'pinned': True}}.",
    ).tag(config=True)
    stop_timeout_s = _amount(10.0, "How long stopping may take, in seconds; then the rest is dropped.")
    drain_s = _amount(
        5.0, "How long running requests get when the server stops, in seconds; at most half of stop_timeout_s."
    )

    max_connections = _count(1000, "WebSockets and readers of server-sent events at most.")
    max_connections_per_client = _count(100, "Those of one client at most.")
    max_requests_per_connection = _count(1024, "Requests and open streams of one WebSocket connection at most.")
    heartbeat_s = _amount(
        15.0, "Seconds between pings on a connection; one without a sign of life for two of these is dropped.", min=0.05
    )
    stalled_s = _amount(60.0, "How long a connection may take nothing of what is written, in seconds.", min=0.05)

    alerts = Rules(
        help="Bounds on what is measured, and how long they must be passed until people are told: the fields of "
        "AlertRule, as in [{'metric': 'ttft_p95_ms', 'above': 500, 'for_s': 10}].",
    ).tag(config=True)

    opentelemetry = Bool(
        False,
        help="Whether figures are sent to an OpenTelemetry collector, over OTLP/HTTP; the standard OTEL_* environment "
        'variables say where to and how often. Needs pip install "jupyter_streaminfer[otel]".',
    ).tag(config=True)

    frames = Enum(
        ["auto", "tornado", "picows"],
        "auto",
        help="Who parses the native WebSocket's frames: picows where it is installed and can (not where TLS ends in "
        "this process, nor on Windows), or Tornado, always.",
    ).tag(config=True)

    max_models = _count(_DEFAULTS.max_models, "Names that models go by at once, at most.")
    max_versions = _count(_DEFAULTS.max_versions, "Versions of one name that are loaded or loading at once, at most.")
    keep_versions = _count(
        _DEFAULTS.keep_versions, "Replaced versions that stay loaded, for a rollback that takes no time.", min=0
    )
    max_models_bytes = _count(
        _DEFAULTS.max_models_bytes, "What all models take together at most, in bytes; 0: no limit.", min=0
    )
    idle_unload_s = _amount(
        _DEFAULTS.idle_unload_s, "After how long without requests a model is unloaded, in seconds; 0: never."
    )
    load_timeout_s = _amount(_DEFAULTS.load_timeout_s, "How long one load may take, in seconds.", min=0.05)
    placement = Enum(
        ["auto", "thread", "process"],
        _DEFAULTS.placement,
        help="Where models compute that do not say it: in a thread of the server, or in a process of their own.",
    ).tag(config=True)
    memory_bytes = _count(_DEFAULTS.memory_bytes, "What a model's process may take, in bytes; 0: no limit.", min=0)
    max_batch_size = _count(_DEFAULTS.max_batch_size, "Sequences or rows that a model computes together at most.")
    max_wait_ms = _amount(_DEFAULTS.max_wait_ms, "How long a prediction waits for company, in milliseconds.")
    max_queue = _count(_DEFAULTS.max_queue, "Requests that wait for one model at most.")
    step_tokens = _count(_DEFAULTS.step_tokens, "Prompt and new tokens that one step computes at most.")
    cache_bytes = _count(_DEFAULTS.cache_bytes, "One model's KV cache, in bytes.")
    threads = _count(_DEFAULTS.threads, "Computing threads per model; 0: all cores but one.", min=0)
    allowed_factories = List(
        Unicode(),
        help="Functions that models may be loaded from, as patterns of module:function (mypackage.models:*). "
        "Whoever may load models can have them imported and called, with any arguments.",
    ).tag(config=True)
    allow_torchscript = Bool(
        _DEFAULTS.allow_torchscript,
        help="Whether TorchScript files are loaded. They bring code of their own; only load those that you trust.",
    ).tag(config=True)
    skops_trusted = List(
        Unicode(),
        help="Types, by their full names, that .skops files may make objects of besides those that skops trusts. "
        "What such an object does as it is made, a file can have done.",
    ).tag(config=True)

    state_dir = Unicode(
        help="The folder of what outlives the server: routes. By default in Jupyter's data folder; empty: nothing does."
    ).tag(config=True)
    prediction_cache_bytes = _count(
        _DEFAULTS.prediction_cache_bytes, "Answers kept for predictions that ask for it, in bytes; 0: none.", min=0
    )
    prediction_cache_s = _amount(_DEFAULTS.prediction_cache_s, "How old such an answer may be, in seconds.")

    store_dir = Unicode(
        help="The folder of models that were uploaded. By default in Jupyter's data folder; empty: there is none."
    ).tag(config=True)
    max_store_bytes = _count(_DEFAULTS.max_store_bytes, "All that the store holds, in bytes, at most.")
    max_upload_bytes = _count(_DEFAULTS.max_upload_bytes, "The files of one upload, in bytes, at most.")

    max_streams = _count(
        _DEFAULTS.max_streams, "Streams kept, open and closed, at most; the oldest closed one makes room."
    )
    stream_ttl_s = _amount(_DEFAULTS.stream_ttl_s, "How long a closed stream can still be read, in seconds.")
    grace_s = _amount(
        _DEFAULTS.grace_s, "How long a stream that nobody reads goes on, in seconds, unless it is detached."
    )
    max_stream_bytes = _count(
        _DEFAULTS.max_stream_bytes, "One stream's log, in bytes; beyond it the older half is kept as a snapshot only."
    )
    max_log_bytes = _count(
        _DEFAULTS.max_log_bytes, "All streams' logs, in bytes; beyond it the oldest closed ones are forgotten."
    )
    window_tokens = _count(
        _DEFAULTS.window_tokens,
        "How many tokens a consumer may lag: at 80 % it is told, at 100 % its stream waits for it.",
    )

    queue_deadline_s = _amount(
        _DEFAULTS.queue_deadline_s, "Seconds until a stream's first computation, unless its request says otherwise."
    )
    first_token_deadline_s = _amount(
        _DEFAULTS.first_token_deadline_s, "Seconds until a stream's first token; then it is tried once more."
    )
    inactivity_deadline_s = _amount(_DEFAULTS.inactivity_deadline_s, "Seconds from one token of a stream to the next.")
    total_deadline_s = _amount(_DEFAULTS.total_deadline_s, "Seconds until a stream's end.")

    client_requests_per_s = _amount(
        _DEFAULTS.client_requests_per_s, "Requests that one client may send in the long run; 0: no limit."
    )
    client_requests_burst = _count(_DEFAULTS.client_requests_burst, "Requests that one client may send at once.")
    client_tokens_per_s = _amount(
        _DEFAULTS.client_tokens_per_s, "Prompt and new tokens of one client in the long run; 0: no limit."
    )
    client_tokens_burst = _count(_DEFAULTS.client_tokens_burst, "Prompt and new tokens of one client at once.")
    max_pending_per_client = _count(
        _DEFAULTS.max_pending_per_client, "Requests of one client that are not ended, at most."
    )
    max_queued_tokens = _count(
        _DEFAULTS.max_queued_tokens, "Prompt and new tokens that all admitted requests may still take."
    )
    max_cache_used = _part(
        _DEFAULTS.max_cache_used,
        "The part of a model's KV cache in use, 0 to 1, beyond which no request joins those that wait.",
    )
    max_memory_used = _part(
        _DEFAULTS.max_memory_used,
        "The part of the machine's memory in use, or of the container's, beyond which requests are refused.",
    )
    max_gpu_utilisation = _part(
        _DEFAULTS.max_gpu_utilisation, "The part of the GPU's time beyond which requests are refused; 1: no limit."
    )
    max_gpu_memory_used = _part(
        _DEFAULTS.max_gpu_memory_used, "The part of the GPU's memory beyond which requests are refused."
    )

    @default("store_dir")
    def _default_store_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "streaminfer" / "models")

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "streaminfer")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.engine: Engine | None = None
        """There from the start of the server's loop to the end of the extension."""
        self.secret = Secret()
        self.writes = Writes()
        self.connections: set[Connection] = set()
        """The open WebSockets."""
        self.on_stop: set[Callable[[], None]] = set()
        """Told once the engine is gone."""
        self.gate: Gate
        self.takes_over = False
        """Whether picows gets the sockets of WebSockets."""
        self.activity: Activity
        self.configuration = Configuration(self)
        self._hang_up = HangUp(lambda: self.in_background(self._reload(), "Reading the configuration again"))
        self._collector = EngineCollector(lambda: self.engine)
        self._events: JupyterEvents
        self._telemetry: Telemetry | None = None
        self._stopping = False
        self._announcement: Announcement | None = None
        self._loads: set[asyncio.Task[Any]] = set()
        """What goes on in the background."""

    def initialize_settings(self) -> None:
        """Prepare what handlers use."""
        assert self.serverapp is not None  # noqa: S101 (linked before it is initialized)
        self.gate = Gate(self.max_connections, self.max_connections_per_client)
        self.takes_over = self.frames != "tornado" and available()
        if self.frames == "picows" and not self.takes_over:
            self.log.warning("picows is not installed, or not for this system: Tornado parses the frames.")
        self.activity = Activity(self.serverapp.web_app.settings, lambda: bool(self.current_activity()))

    def initialize_handlers(self) -> None:
        """Register the addresses."""
        for service in (models, versions, routes, uploads, downloads, reload, streams, health, metrics, alerts, ws):
            self.handlers.extend(service.default_handlers)
        self.handlers.extend(openai_handlers)

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Create the engine on the running loop, and tell kernels started from now on where it is."""
        self.engine = Engine(
            EngineConfig(**{field: getattr(self, field) for field in EngineConfig.__dataclass_fields__})
        )
        self.engine.connections = lambda: len(self.gate)
        assert serverapp.event_logger is not None  # noqa: S101 (made before extensions are started)
        self._events = JupyterEvents(serverapp.event_logger)
        self.engine.on_stream_end = self._stream_ended
        self.engine.on_alert = self._events.alert_changed
        self.engine.set_alerts(alert_rules(self.alerts), configured=True)
        if self.opentelemetry:
            self._telemetry = Telemetry(self.engine)
            self.in_background(self._telemetry.start(), "Sending figures to OpenTelemetry")
        self.activity.start()
        self._collector.register()
        self._announcement = Announcement(local_url(serverapp), self.secret)
        self._hang_up.start()
        self.in_background(self.engine.store.sweep(), "Looking after the store")
        for name in self.preload:
            self.in_background(self._preload(self.engine, name), f"Preloading model {name!r}")
        self.in_background(self._configure(self.engine), "Loading the configured models")
        # All that the server's packages are: to look through it for garbage would hold the event loop up for 0.2 s.
        gc.freeze()

    def in_background(self, work: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]:
        """Do something that nobody need wait for; a refusal is logged, and ends with the server."""
        task = asyncio.create_task(work)
        self._loads.add(task)

        def ended(task: asyncio.Task[T]) -> None:
            self._loads.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.log.error("%s failed: %s", what, error)

        task.add_done_callback(ended)
        return task

    def configured_models(self) -> dict[str, LoadModel]:
        """The models that the configuration has."""
        return load_requests(self.models)

    def _stream_ended(self, status: StreamStatus) -> None:
        self._events.stream_ended(status)
        if self._telemetry is not None:
            self._telemetry.stream_ended(status)

    async def _preload(self, engine: Engine, name: str) -> None:
        status = await engine.load(name)
        self.log.info("Model %r is ready after %.0f ms.", name, status.loaded_ms)

    async def _configure(self, engine: Engine) -> None:
        await self.configuration.start()
        for done in await engine.reload(self.configured_models()):
            self.log.info("%s", done)

    async def _reload(self) -> None:
        reloaded = await self.configuration.reload()
        self.log.info("The configuration was read again: %s", msgspec.json.encode(reloaded).decode())

    def current_activity(self) -> dict[str, int] | None:
        """Work that is under way, by model; none when idle. A server with work is not stopped as idle."""
        if self.engine is None:
            return None
        work: Counter[str] = Counter()
        for model in self.engine.models():
            work[model.name] += model.active + (model.state == "loading")
        return dict(+work) or None

    async def stop_extension(self) -> None:
        """Let what runs end or end it, tell every connection (close code 1001), free the models.

        New work is refused from now on, what runs has ``drain_s``, and all is done within ``stop_timeout_s``.
        """
        if self.engine is None or self._stopping:
            return
        self._stopping = True
        engine = self.engine
        self.activity.stop()
        self._hang_up.stop()
        if self._announcement is not None:
            self._announcement.withdraw()
        for load in self._loads:
            load.cancel()
        try:
            async with asyncio.timeout(self.stop_timeout_s):
                await engine.drain(min(self.drain_s, self.stop_timeout_s / 2))
                self.engine = None
                await engine.close()
                self._events.flush()
                await self._close_connections()
                if self._telemetry is not None:
                    await self._telemetry.stop()
        except TimeoutError:
            self.log.warning("Stopping took longer than %g s; the rest is dropped.", self.stop_timeout_s)
        finally:
            self.engine = None
            for tell in list(self.on_stop):
                tell()
            self._collector.unregister()
            gc.unfreeze()
            for connection in list(self.connections):
                connection.close(1001, GOODBYE)
                connection.transport.abort()

    async def _close_connections(self) -> None:
        ends = [connection.ended for connection in self.connections]
        for connection in list(self.connections):
            connection.close(1001, GOODBYE)
        if ends:
            await asyncio.wait(ends, timeout=GOODBYE_S)
