"""How much of the memory is used: the container's where it has a limit, else the machine's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Group:
    """One control group of the kernel's, and how its version names what we read."""

    folder: Path
    limit: str
    usage: str
    droppable: tuple[str, ...]
    """What of its usage in ``memory.stat`` the kernel can drop when it needs memory: files' pages."""

    def used(self, total: int) -> float | None:
        """The used part of its limit; None where it has none below the machine's ``total``, or is gone."""
        try:
            limit = (self.folder / self.limit).read_text().strip()
            if limit == "max" or int(limit) >= total:
                return None
            used = int((self.folder / self.usage).read_text())
            for line in (self.folder / "memory.stat").read_text().splitlines():
                key, _, value = line.partition(" ")
                if key in self.droppable:
                    used -= int(value)
            return max(0.0, used / max(int(limit), 1))
        except (OSError, ValueError):
            return None


class Memory:
    """Looks at this process's control groups (Linux, versions 1 and 2), each of which may be the limit."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root`` holds ``proc``, and what that names."""
        self._groups = _groups(root)

    def used(self) -> float:
        """The used part, 0 to 1; files' pages that the kernel can drop are free."""
        machine = psutil.virtual_memory()
        parts = [part for group in self._groups if (part := group.used(machine.total)) is not None]
        return max(parts, default=1 - machine.available / machine.total)


def process_bytes(pids: Iterable[int]) -> dict[int, int]:
    """The resident memory of these processes and of this one, by their ids; those that are gone are left out."""
    found = {}
    for pid in {os.getpid(), *pids}:
        with contextlib.suppress(psutil.Error):
            found[pid] = psutil.Process(pid).memory_info().rss
    return found


def _groups(root: Path) -> list[Group]:
    """The groups that this process is in and all that these are in, as far as they can be seen from here."""
    groups: list[Group] = []
    for version, mount, path in _places(root):
        # A path that is not below the mount is another namespace's: what is mounted is then the process's own.
        own = mount / path if (mount / path).is_dir() and ".." not in path.parts else mount
        for folder in (own, *own.parents):
            if version == "cgroup2" and (folder / "memory.max").is_file():
                droppable = ("active_file", "inactive_file")
                groups.append(Group(folder, "memory.max", "memory.current", droppable))
            elif version == "cgroup" and (folder / "memory.limit_in_bytes").is_file():
                droppable = ("total_active_file", "total_inactive_file")
                groups.append(Group(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", droppable))
            if folder == mount:
                break
    return groups


def _places(root: Path) -> list[tuple[str, Path, Path]]:
    """Where the memory's groups are mounted: the version, the mount, and this process's path below it."""
    try:
        paths = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    places = []
    for line in mounts:
        head, _, tail = line.partition(" - ")
        within, mount = head.split()[3:5]
        version, _, options = tail.split(" ", 2)
        for _, controllers, path in paths:
            ours = version == "cgroup2" and not controllers
            if ours or (version == "cgroup" and "memory" in controllers.split(",") and "memory" in options.split(",")):
                below = path.removeprefix(within.rstrip("/")).lstrip("/")
                places.append((version, root / mount.lstrip("/"), Path(below)))
    return places
