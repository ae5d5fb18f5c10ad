"""A row as a page shows it: names and values, of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from jupyter_streaminfer.client.tables import is_frame
from jupyter_streaminfer.protocol import StreaminferError

MAX_ROWS = 200_000
MAX_FIELDS = 40
MAX_CHARACTERS = 400
"""Of a value among others; a row that is one text is shown to ten times that."""


class Rows:
    """Rows in any order: of an array, a tensor, a frame, columns by name, a sequence, or an iterable, which is read."""

    def __init__(self, rows: Any, names: Sequence[str] = ()) -> None:
        """``names``: of values that have none. Raises `StreaminferError` where they are no rows, or too many."""
        if isinstance(rows, str) or not isinstance(rows, Iterable):
            raise _refused(f"a {type(rows).__name__} is no iterable of rows")
        self.given: Any = rows
        """As a model is asked about them."""
        if not (isinstance(rows, Mapping | Sequence) or is_frame(rows) or hasattr(rows, "__array__")):
            self.given = list(islice(rows, MAX_ROWS + 1))
        columns = rows.values() if isinstance(rows, Mapping) else [self.given]
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise _refused("all columns must have equally many rows")
        [self._length] = lengths
        if self._length > MAX_ROWS:
            raise _refused(f"{MAX_ROWS} of them can be reviewed at once")
        self._names = names

    def __len__(self) -> int:
        return self._length

    def fields(self, row: int) -> list[tuple[str, str]]:
        """Names and values of a row; the rest of a long one is counted in the last."""
        value = self._row(row)
        if isinstance(value, str):
            return [(self._names[0] if self._names else "text", _cut(value, 10 * MAX_CHARACTERS))]
        if isinstance(value, Mapping):
            pairs = [(str(name), each) for name, each in islice(value.items(), MAX_FIELDS)]
            count = len(value)
        else:
            values = _flat(value)
            count = len(values)
            alone = self._names[0] if self._names else "value"
            pairs = [
                (alone if count == 1 else f"{alone} {place}", values[place]) for place in range(min(count, MAX_FIELDS))
            ]
        shown = [(_cut(name, 80), _text(each)) for name, each in pairs]
        return [*shown, ("…", f"and {count - MAX_FIELDS} more")] if count > MAX_FIELDS else shown

    def _row(self, row: int) -> Any:
        if is_frame(self.given):
            return self.given.iloc[row].to_dict()
        if isinstance(self.given, Mapping):
            return {name: column[row] for name, column in self.given.items()}
        return self.given.iloc[row] if hasattr(self.given, "iloc") else self.given[row]


def _flat(value: Any) -> Any:
    if hasattr(value, "reshape"):
        return value.reshape(-1)
    return value if isinstance(value, Sequence) else [value]


def _text(value: Any) -> str:
    value = value.item() if getattr(value, "size", 0) == 1 and hasattr(value, "item") else value
    return _cut(f"{value:.6g}" if isinstance(value, float) else str(value), MAX_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _refused(reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"rows: {reason}.", field="rows")
