"""What a request to load says, as the spec that a worker gets."""

from __future__ import annotations

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.entry import LATEST, Entry
from jupyter_streaminfer.engine.folder import is_factory, is_light, model_folder
from jupyter_streaminfer.engine.model import SOON_MS, Model
from jupyter_streaminfer.protocol import VERSION_PATTERN, LoadModel, Placement, StreaminferError
from jupyter_streaminfer.workers import ModelSpec

DEFAULT_PLACEMENT: Placement = "process"
"""Where a model computes when nobody says, unless it is light; `docs/workers.md` has the measurements for it."""


def spec_of(request: LoadModel, config: EngineConfig, entry: Entry | None) -> ModelSpec:
    """What to load; raises `StreaminferError` that names the field where that cannot be.

    A request without a path, for a name that is there, means the files that its latest version came from, and what it
    does not say itself is as it was with that.
    """
    version = request.version
    if version is None:
        version = entry.next_version() if entry else "1"
    _check_version(version, entry)
    if entry is not None and request.path is None:
        before = entry.newest().spec
        dtype = request.dtype if request.dtype != "auto" else before.dtype
        placement = request.placement if request.placement != "auto" else before.placement
        signature, arguments = request.signature or before.signature, request.arguments or before.arguments
        return ModelSpec(request.name, version, before.path, dtype, placement, config, signature, arguments)
    folder = model_folder(request.name, request.path)
    placement = request.placement if request.placement != "auto" else config.placement
    if request.placement == "auto" and is_factory(folder):
        placement = DEFAULT_PLACEMENT  # code that is not ours and may hang: a process can be ended
    elif placement == "auto":
        placement = "thread" if is_light(folder) else DEFAULT_PLACEMENT
    return ModelSpec(
        request.name, version, folder, request.dtype, placement, config, request.signature, request.arguments
    )


def refuse_another(model: Model, request: LoadModel) -> None:
    """Raise `StreaminferError` where a model that is there cannot be the answer to a load of its name."""
    name = model.spec.name
    refuse_unloading(model)
    if request.path is not None and model_folder(name, request.path) != model.spec.path:
        raise _another(model, "path", f"from {model.spec.path}")
    if request.dtype not in ("auto", model.spec.dtype, model.info.dtype if model.info else "auto"):
        raise _another(model, "dtype", f"with dtype {model.spec.dtype!r}")
    if request.placement not in ("auto", model.spec.placement):
        raise _another(model, "placement", f"in a {model.spec.placement}")


def refuse_unloading(model: Model) -> None:
    """Raise `StreaminferError` while a model is being unloaded for good."""
    if model.state == "unloading":
        raise StreaminferError(
            "model_not_ready",
            f"Model '{model.spec.name}@{model.spec.version}' is being unloaded. Try again in a moment.",
            retryable=True,
            retry_after_ms=SOON_MS,
        )


def _check_version(version: str, entry: Entry | None) -> None:
    if VERSION_PATTERN.fullmatch(version) is None or version == LATEST:
        raise StreaminferError(
            "invalid_request",
            "A version's name is 1 to 32 letters, digits, dots, underscores and hyphens, the first a letter or digit, "
            f"and not {LATEST!r}.",
            field="version",
        )
    if entry is not None and (model := entry.versions.get(version)) is not None and model.state != "failed":
        raise StreaminferError(
            "invalid_request",
            f"Model {entry.name!r} has a version {version} ({model.state}). Give another name, activate that one, or "
            "unload it first.",
            field="version",
        )


def _another(model: Model, field: str, how: str) -> StreaminferError:
    return StreaminferError(
        "invalid_request",
        f"Model {model.spec.name!r} is loaded {how}. Swap it, unload it first, or use another name.",
        field=field,
    )
