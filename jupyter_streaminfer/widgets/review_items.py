"""The rows of a review as a page is sent them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jupyter_streaminfer.client.tables import index_of
from jupyter_streaminfer.protocol import Signature, StreaminferError
from jupyter_streaminfer.widgets.judgements import Judgements
from jupyter_streaminfer.widgets.pictures import Pictures, pictures_of
from jupyter_streaminfer.widgets.rows import Rows

AHEAD = 24
"""Rows that a page has, so that it goes on while the kernel is busy."""
AHEAD_BYTES = 450_000
NAME_CHARACTERS = 80


class ReviewItems:
    """Rows, or their images. An item's TypeScript twin is ``IItem`` in ``labextension/src/review/desk.ts``."""

    def __init__(self, rows: Any, images: Any, signature: Signature | None) -> None:
        """Raises `StreaminferError` where rows or images are none."""
        self.rows = Rows(rows, [spec.name for spec in signature.inputs] if signature else [])
        self.index = index_of(rows)
        """What names the rows of a frame."""
        count = len(self.rows)
        self._pictures = pictures_of(self.rows.given, count, signature) if images is None else Pictures(images, count)
        self.room = AHEAD
        """How many a page is sent at once: fewer where their pictures are large."""

    def name(self, row: int) -> str:
        """What a row is called."""
        return str(row if self.index is None else self.index[row])[:NAME_CHARACTERS]

    def made(self, rows: Sequence[int], judgements: Judgements) -> list[dict[str, Any]]:
        """These rows, or the first of them, as many as there is room for."""
        items: list[dict[str, Any]] = []
        size, self.room = 0, AHEAD
        for row in rows:
            item = self._item(row, judgements)
            size += len(item["picture"]["pixels"]) if item["picture"] else 0
            if items and size > AHEAD_BYTES:
                self.room = len(items)
                break
            items.append(item)
        return items

    def _item(self, row: int, judgements: Judgements) -> dict[str, Any]:
        label, confidence = judgements.prediction(row)
        picture, fields = None, []
        try:
            if self._pictures is not None:
                picture = msgspec.structs.asdict(self._pictures.of(row))
            else:
                fields = self.rows.fields(row)
        except StreaminferError as error:
            fields = [("image", str(error))]
        return {
            "row": row,
            "name": self.name(row),
            "label": label,
            "confidence": confidence,
            "scores": judgements.scores(row),
            "picture": picture,
            "fields": fields,
        }
