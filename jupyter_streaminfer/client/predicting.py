"""The calls that ask models about rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import msgspec

from jupyter_streaminfer.client.calls import Calls
from jupyter_streaminfer.client.inputs import encoded, needs_signature
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.predict_stream import BATCH_ROWS, WINDOW, PredictStream
from jupyter_streaminfer.client.predictions import Predictions
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.signatures import Signatures
from jupyter_streaminfer.client.tables import index_of
from jupyter_streaminfer.client.transport import Transport
from jupyter_streaminfer.protocol import Predict, Result, Signature, StreaminferError

if TYPE_CHECKING:
    import pandas as pd


class PredictOptions(TypedDict, total=False):
    """The fields of `protocol.Predict` beside model and inputs; it explains them."""

    priority: int
    deadline_ms: float | None
    cache: bool
    key: str | None


class PredictCalls(Calls):
    """Of a client: predictions."""

    def __init__(
        self, transport: Transport, io: IOLoop, release: Callable[[], object], retries: Retries | None = None
    ) -> None:
        super().__init__(transport, io, release, retries)
        self._signatures = Signatures(transport.model)

    def predict(self, model: str, inputs: Any, **options: Unpack[PredictOptions]) -> Predictions:
        """Ask about rows: ``[rows, ...]`` as the model's signature says (`ModelInfo.signature`).

        Takes arrays, tensors, lists of rows, frames (one row each; the columns by their names where the model has
        several inputs), texts, and an object of columns by the inputs' names. One plain row is one row.
        ``priority``: higher ones first. ``deadline_ms``: refused as ``expired`` where it is not computed within.
        ``cache``: answer from what the same version said to the same inputs. ``key``: what a split between versions
        sticks to, such as a user.
        """
        return self._call(self._predict(model, inputs, options))

    def predict_stream(
        self,
        model: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        batch_rows: int = BATCH_ROWS,
        in_order: bool = True,
        window: int = WINDOW,
        errors: Literal["raise", "yield"] = "raise",
        progress: bool = True,
        **options: Unpack[PredictOptions],
    ) -> PredictStream:
        """Ask about any number of rows, and have each answer as it comes, in a ``for`` or an ``async for``.

        ``rows``: an iterable of rows, which is read as answers are taken and no further than ``(window + 1) *
        batch_rows`` ahead of them; or an array, a tensor, a frame, or an object of columns. ``batch_rows`` rows go in
        a request, ``window`` requests are under way at once. ``in_order=False``: pairs of a row's index and its
        answer, as they finish. ``errors="yield"``: a row that is refused yields its `RowError`; otherwise that is
        raised at its place. Leaving the loop cancels what is under way. ``options`` as in `predict`.
        """
        self._check_open()
        return PredictStream(
            self, model, rows, options,
            batch_rows=batch_rows, in_order=in_order, window=window, errors=errors, progress=progress,
        )  # fmt: skip

    async def _predict(self, model: str, inputs: Any, options: PredictOptions, *, single: bool = True) -> Predictions:
        signature = await self._wanted(model) if needs_signature(inputs) else None
        # Elsewhere, for the loop feeds every stream of this client, and may carry an engine.
        text = await asyncio.to_thread(encoded, inputs, signature, single=single)
        try:
            return await self._predict_text(model, text, options, index_of(inputs))
        except StreaminferError as error:
            if signature is None or error.field is None or not error.field.startswith("inputs"):
                raise
            # Another version may have taken its place, which takes something else.
            newer = await self._wanted(model, again=True)
            if newer == signature:
                raise
            text = await asyncio.to_thread(encoded, inputs, newer, single=single)
        return await self._predict_text(model, text, options, index_of(inputs))

    async def _predict_text(
        self, model: str, text: msgspec.Raw, options: PredictOptions, index: pd.Index[Any] | None = None
    ) -> Predictions:
        """The answer about inputs that are encoded already."""
        request = Predict(self._next_id(), model, text, **options)
        result = await self._patiently(lambda: self._transport.predict(request))
        try:
            return Predictions(result, await self._answered(model, result), index)
        except msgspec.ValidationError:
            # The name and number of a version that was unloaded may be given to another one.
            return Predictions(result, await self._answered(model, result, again=True), index)

    async def _wanted(self, model: str, *, again: bool = False) -> Signature | None:
        return await self._patiently(lambda: self._signatures.wanted(model, again=again))

    async def _answered(self, model: str, result: Result, *, again: bool = False) -> Signature | None:
        return await self._patiently(
            lambda: self._signatures.answered(model, result.model, result.version, again=again)
        )
