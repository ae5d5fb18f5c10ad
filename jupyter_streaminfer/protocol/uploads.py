"""A model's files on their way into the server's store, and out of it again."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from jupyter_streaminfer.protocol.limits import ModelName, ModelVersion

FILE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.(json|safetensors|pt2|skops|txt|model|jinja)")
"""What a file may be called, matched whole: no separators, and no format that is a pickle."""
MAX_UPLOAD_FILES = 64
MAX_CHUNK_BYTES = 8 * 2**20
"""What one ``PUT`` may bring."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ModelFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model."""

    name: Annotated[str, Meta(min_length=1, max_length=140)]
    size: Annotated[int, Meta(ge=0)]
    """Bytes."""
    sha256: Sha256


class BeginUpload(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``POST api/uploads``."""

    name: ModelName
    files: Annotated[list[ModelFile], Meta(min_length=1, max_length=MAX_UPLOAD_FILES)]
    version: ModelVersion | None = None
    """What the version will be called in the store; absent: the next number."""


class UploadStatus(Struct, frozen=True):
    """An upload under way."""

    id: str
    name: str
    version: str
    received: dict[str, int]
    """Bytes that are there, by file; the whole file where the store had one with the same checksum already."""
    expires_s: float
    """It is dropped when so long nothing came."""


class StoredModel(Struct, frozen=True):
    """A version in the store; the answer to ``POST api/uploads/ID/commit``."""

    name: str
    version: str
    path: str
    """What to load or swap to."""
    files: list[ModelFile]
