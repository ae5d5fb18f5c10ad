"""Where a model's files are."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from jupyter_streaminfer.protocol import FACTORY_PATTERN, NAME_PATTERN, StreaminferError

BUNDLED = Path(__file__).parents[1] / "models"
"""The models that come with the package, a folder each."""
LIGHT = ("MlpClassifier", "ExportedProgram")
"""Architectures of networks that load without an interpreter of their own to be started, and compute in few calls."""
LIGHT_BYTES = 64 * 2**20
"""Weights of a light one at most."""
MAX_CONFIG_BYTES = 1024 * 1024
MODEL_FILES = (".pt2", ".pt", ".ts", ".skops")
"""How the names of files end that are models by themselves."""


class _Config(Struct):
    architectures: list[str] = []


_architectures = msgspec.json.Decoder(_Config)


def model_folder(name: str, path: str | None) -> Path:
    """Where the model's files are, or the ``module:function`` that makes it, as a path.

    Raises `StreaminferError` for a name, or for a folder or a file, that cannot be one.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise StreaminferError(
            "invalid_request",
            "A model's name is 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit.",
            field="name",
        )
    if path is None:
        folder = BUNDLED / name
        if not (folder / "config.json").is_file():
            bundled = ", ".join(sorted(each.parent.name for each in BUNDLED.glob("*/config.json")))
            raise StreaminferError(
                "model_not_found",
                f"No model {name!r} comes with the package (those that do: {bundled}). Give a folder's path.",
                field="name",
            )
        return folder
    if "\0" in path:
        raise StreaminferError("invalid_request", "A path cannot hold a null character.", field="path")
    if FACTORY_PATTERN.fullmatch(path) is not None:
        return Path(path)
    found = Path(path).expanduser().resolve()
    if not (found / "config.json").is_file() and not (found.is_file() and found.suffix in MODEL_FILES):
        raise StreaminferError(
            "invalid_request",
            f"{found} is no model folder: it has no config.json. Give a folder in the Hugging Face layout, a file "
            f"({', '.join(MODEL_FILES)}), or module:function.",
            field="path",
        )
    return found


def is_factory(path: Path) -> bool:
    """Whether that is a ``module:function``."""
    return FACTORY_PATTERN.fullmatch(str(path)) is not None


def is_light(path: Path) -> bool:
    """Whether it is a folder of a small network for predictions, which starts in milliseconds where torch is there."""
    config, weights = path / "config.json", path / "model.safetensors"
    try:
        if config.stat().st_size > MAX_CONFIG_BYTES or weights.stat().st_size > LIGHT_BYTES:
            return False
        found = _architectures.decode(config.read_bytes())
    except (OSError, msgspec.DecodeError):
        return False  # the load will say what is wrong with it
    return len(found.architectures) == 1 and found.architectures[0] in LIGHT
