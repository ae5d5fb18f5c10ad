"""Routes on disk, a file a model: written whole or not at all, and read with suspicion."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from jupyter_streaminfer.protocol import NAME_PATTERN, Route

MAX_FILES = 256
MAX_FILE_BYTES = 64 * 1024
SUFFIX = ".json"
DAMAGED = ".damaged"

_log = logging.getLogger(__name__)


class KeptRoute(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a file holds."""

    model: str
    route: Route
    rolled_back: str | None = None
    """Why its canary was taken out, if it was."""


_decode = msgspec.json.Decoder(KeptRoute).decode


class RouteFiles:
    """A folder of them. Servers that share it keep each other's files, and of one model that which was written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[str, KeptRoute]:
        """All routes by the name of their model. A file that is none is logged and renamed, and stops nothing."""
        kept: dict[str, KeptRoute] = {}
        paths = sorted(self._folder.glob("*" + SUFFIX))
        if len(paths) > MAX_FILES:
            _log.warning("%s holds %d routes; only the first %d are used.", self._folder, len(paths), MAX_FILES)
        for path in paths[:MAX_FILES]:
            try:
                kept[path.stem] = _read(path)
            except OSError as error:
                _log.warning("The kept route %s cannot be read: %s", path, error)
            except (ValueError, msgspec.MsgspecError, RecursionError) as error:
                _log.warning("%s is no kept route and is set aside as %s%s: %s", path, path.name, DAMAGED, error)
                _set_aside(path)
        return kept

    def write(self, name: str, kept: KeptRoute | None) -> None:
        """Keep a model's route, or none of it; raises `OSError` where the disk does not take it."""
        path = self._folder / (name + SUFFIX)
        if kept is None:
            path.unlink(missing_ok=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".new")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(kept), indent=2))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise


def _read(path: Path) -> KeptRoute:
    """Raises `OSError`, or `ValueError` for a file that is no route of the model that it is named after."""
    with path.open("rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(f"it is longer than {MAX_FILE_BYTES} bytes")
    kept = _decode(text)
    if kept.model != path.stem or NAME_PATTERN.fullmatch(kept.model) is None:
        raise ValueError(f"it is the route of model {kept.model[:64]!r}")
    return kept


def _set_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(path.name + DAMAGED))
    except OSError as error:
        _log.warning("%s cannot be renamed: %s", path, error)
