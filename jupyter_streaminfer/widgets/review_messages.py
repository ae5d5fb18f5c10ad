"""What a page of a review says to the kernel. Each page counts it, so that what is said twice is taken once."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Row = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TypeScript twin is ``IOp`` in ``labextension/src/review/desk.ts``."""

    page: Annotated[str, Meta(min_length=1, max_length=32)]
    n: Annotated[int, Meta(ge=1)]


class Decide(Said, frozen=True, tag="decide"):
    """The row's label, and how long it was on the page."""

    row: Row
    label: Annotated[str, Meta(max_length=10_000)]
    ms: Milliseconds


class Skip(Said, frozen=True, tag="skip"):
    """The row's turn is to come after all others'."""

    row: Row
    ms: Milliseconds


class Back(Said, frozen=True, tag="back"):
    """What was said of the row does not hold; of the last one where none is named."""

    row: Row | None = None
