"""Where everything that the engine measures comes together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from jupyter_streaminfer.engine.metrics.account import StreamAccount
from jupyter_streaminfer.engine.metrics.batches import Batches
from jupyter_streaminfer.engine.metrics.door import Door
from jupyter_streaminfer.engine.metrics.labels import Labelled, legible
from jupyter_streaminfer.engine.metrics.series import Histogram, ModelKey, ModelSeries, latencies
from jupyter_streaminfer.engine.metrics.state import VersionState
from jupyter_streaminfer.engine.metrics.tally import Tally, traffic
from jupyter_streaminfer.engine.metrics.window import SLICE_S, SLICES
from jupyter_streaminfer.protocol import (
    OTHER,
    ClientMetrics,
    ErrorCode,
    LatencyMetrics,
    ModelMetrics,
    TrafficMetrics,
)

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.model import Model
    from jupyter_streaminfer.engine.question import Question

MAX_SERIES = 50
"""Versions of models, each by how requests came to it, with a label of their own."""
MAX_CLIENTS = 50
"""Clients with one."""
MAX_NAMES = 1000
"""Clients whose labels are remembered."""
EVERYTHING_ELSE: ModelKey = (OTHER, OTHER, "")


class Meter:
    """The series by model, version and arm, and the tallies by client. Used on one event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._models: Labelled[ModelKey, ModelSeries] = Labelled(EVERYTHING_ELSE, ModelSeries, MAX_SERIES)
        self._clients: Labelled[str, Tally] = Labelled(OTHER, Tally, MAX_CLIENTS)
        self._nowhere = Tally()
        """Errors of requests that came to no model."""
        self._batches = Batches()
        self._legible: dict[str, str] = {}
        """Clients' labels by their names."""
        self._rows: dict[ModelKey, ModelMetrics] = {}
        self._told: dict[str, ClientMetrics] = {}
        """What was said of each last."""
        self._sliced = self._sampled = clock()
        """When the slice that is being filled began, and when the last sample was taken."""

    # What it is told.

    def model(self, model: Model, arm: str) -> ModelSeries:
        """Where to count what becomes of a request to a version."""
        spec = model.spec
        return self._models.get((spec.name, spec.version, arm))

    def client(self, name: str) -> Tally:
        """Where to count what becomes of a client's requests."""
        label = self._legible.get(name)
        return self._clients.get(self._label(name) if label is None else label)

    def stream(self, model: Model, arm: str, client: str) -> StreamAccount:
        """The account of a stream that was let in."""
        return StreamAccount(self.model(model, arm), self.client(client))

    def door(self, client: str) -> Door:
        """A client's request comes."""
        return Door(self, client)

    def asked(self, model: Model, arm: str, client: str) -> tuple[ModelSeries, Tally]:
        """A question was let in; `answered` tells its end."""
        series, tally = self.model(model, arm), self.client(client)
        series.open += 1
        tally.open += 1
        return series, tally

    def answered(self, question: Question) -> None:
        """A question ended, in whatever way."""
        if question.counted is None or question.outcome is None:
            return
        series, tally = question.counted
        if question.outcome == "completed":
            series.open -= 1
            tally.open -= 1
            series.completed += 1
            tally.completed += 1
            series.predict_ms.current.add((time.monotonic() - question.accepted) * 1000)
        else:
            series.end(question.outcome, question.code)
            tally.end(question.outcome, question.code)

    def known(self, model: Model, arm: str, client: str) -> None:
        """A question was answered by the prediction cache, in no time."""
        self.model(model, arm).completed += 1
        self.client(client).completed += 1

    def refused(self, model: Model | None, arm: str, client: str, code: ErrorCode) -> None:
        """A request was refused at the door; None: it was not even found out which model it is for."""
        of = self._nowhere if model is None else self.model(model, arm)
        of.errors[code] += 1
        self.client(client).errors[code] += 1

    def look(self, models: Iterable[Model]) -> None:
        """Let the windows slide up to now, and see what batches the models have computed."""
        over = int((self._clock() - self._sliced) / SLICE_S)
        if over > 0:
            self._sliced += over * SLICE_S
            for _ in range(min(over, SLICES)):
                for each in self._everyone():
                    each.slide()
            self._models.fold()
            self._clients.fold()
        for model in models:
            if model.loaded:
                sizes = self.model(model, "").batch_size
                for size, count in self._batches.since(model.worker):
                    sizes.current.add(size, count)

    def sample(self) -> None:
        """It is time for a sample: rates are those since the last one."""
        now = self._clock()
        if (seconds := now - self._sampled) > 0:
            self._sampled = now
            for each in self._everyone():
                each.rate(seconds)

    # What it knows.

    def traffic(self) -> TrafficMetrics:
        """Of all requests."""
        return traffic([self._nowhere, *(series for _, series in self._models)])

    def latencies(self) -> LatencyMetrics:
        """Of all requests."""
        return latencies(series for _, series in self._models)

    def models(self, models: Iterable[Model]) -> list[ModelMetrics]:
        """Of each version that is loaded, or was asked for something."""
        states: dict[ModelKey, VersionState] = {}
        for model in models:
            if model.loaded:
                key = self._models.label((model.spec.name, model.spec.version, ""))
                states.setdefault(key, VersionState()).add(model)
        none = VersionState()
        rows = {key: series.metrics(key, states.get(key, none)) for key, series in self._models}
        # Equal rows of successive samples are one object, as minutes of samples are kept.
        self._rows = {key: self._rows[key] if self._rows.get(key) == row else row for key, row in rows.items()}
        return [self._rows[key] for key in sorted(self._rows)]

    def clients(self) -> list[ClientMetrics]:
        """Of each client that asked for something."""
        rows = {name: ClientMetrics(name, tally.traffic()) for name, tally in self._clients}
        self._told = {name: self._told[name] if self._told.get(name) == row else row for name, row in rows.items()}
        return [self._told[name] for name in sorted(self._told)]

    def finish_reasons(self) -> list[tuple[ModelKey, dict[str, int]]]:
        """Streams that completed, by their finish reason."""
        return [(key, dict(series.reasons)) for key, series in self._models]

    def histograms(self) -> list[Histogram]:
        """All the numbers ever, of each window that has any."""
        return [
            Histogram(key, name, buckets)
            for key, series in self._models
            for name, window in series.windows
            if (buckets := window.buckets()).count
        ]

    def _label(self, name: str) -> str:
        if len(self._legible) >= MAX_NAMES:
            self._legible.clear()
        label = self._legible[name] = legible(name)
        return label

    def _everyone(self) -> Iterator[Tally]:
        yield self._nowhere
        for _, series in self._models:
            yield series
        for _, tally in self._clients:
            yield tally
