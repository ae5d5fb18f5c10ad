"""The members of a zip archive that somebody else wrote, looked at before any is unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from jupyter_streaminfer.inference.checkpoint import refuse

MAX_MEMBERS = 100_000


def checked_members(archive: zipfile.ZipFile, path: Path, max_ratio: int, max_bytes: int) -> list[zipfile.ZipInfo]:
    """All members; `StreaminferError` where a name leads out of the archive, or all are too large.

    ``max_ratio``: of their bytes, unpacked, to the file's own. ``max_bytes``: of these, whatever the file's size.
    """
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise refuse(f"{path.name} has {len(entries)} members, more than {MAX_MEMBERS}")
    for entry in entries:
        name = PurePosixPath(entry.filename)
        linked = stat.S_ISLNK(entry.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename or linked:
            raise refuse(f"{path.name} has a member that leads out of the archive: {entry.filename!r:.80}")
    whole = sum(entry.file_size for entry in entries)
    limit = min(max_ratio * path.stat().st_size, max_bytes)
    if whole > limit:
        raise refuse(f"{path.name} would unpack to {whole} bytes, more than the {limit} allowed for a file of its size")
    return entries
