"""Where a model's files are."""

from __future__ import annotations

from pathlib import Path

from jupyter_streaminfer.protocol import NAME_PATTERN, StreaminferError

BUNDLED = Path(__file__).parents[1] / "models"
"""The models that come with the package, a folder each."""


def model_folder(name: str, path: str | None) -> Path:
    """Where the model's files are; raises `StreaminferError` for a name or a folder that cannot be one."""
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
    folder = Path(path).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise StreaminferError(
            "invalid_request",
            f"{folder} is no model folder: it has no config.json. Give a folder in the Hugging Face layout.",
            field="path",
        )
    return folder
