"""What goes by one name: the versions of a model, which of them is the latest, and which were before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from msgspec import structs

from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.protocol import ModelSettings, ModelStatus, StreaminferError

LATEST = "latest"
"""What stands for a version's name in ``name@latest``."""
MAX_KNOWN = 8
"""Versions of one name that are remembered without being loaded: those to go back to, and failed ones."""


class Router(Protocol):
    """Chooses among versions for whoever names none."""

    @property
    def versions(self) -> frozenset[str]:
        """Those that it may choose or copy requests to: they stay loaded when another one becomes the latest."""

    def choose(self, key: str) -> str | None:
        """The version for that key; None for the latest."""


@dataclass(frozen=True)
class Claim:
    """That someone wants a version to be the latest; taken when it is asked for, honoured when that can answer."""

    number: int
    """An older claim takes nothing over from a younger one, whichever of their loads ends first."""
    back: bool
    """Whether it undoes: what it goes back from is none to go back to."""


class Entry:
    """A name and its versions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.router: Router | None = None
        self.pinned = False
        self.settings = ModelSettings()
        """What was changed while it served; new versions get it too."""
        self.versions: dict[str, Model] = {}
        """In the order in which they were asked for."""
        self.latest: str | None = None
        self.before: list[str] = []
        """The versions that were the latest one, the last of them last."""
        self._last_number = 0
        """Of the versions that were ever ready: no answer's version may mean two things."""
        self._claims = 0
        self._honoured = 0
        """The youngest claim that was."""
        self._led: set[str] = set()
        """The versions that were the latest once: such a one is freed when it is replaced."""

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self.versions.values()))

    def find(self, version: str = LATEST) -> Model:
        """That version; without one, or for ``latest``, the latest, or the one that may become it.

        Raises `StreaminferError` where there is none.
        """
        if version != LATEST:
            if (model := self.versions.get(version)) is None:
                raise StreaminferError(
                    "model_not_found",
                    f"Model {self.name!r} has no version {version[:32]!r} ({self._known()}).",
                    field="model",
                )
            return model
        model = self.newest()
        if self.latest is None and model.state == "ready":
            raise StreaminferError(
                "model_not_ready",
                f"No version of model {self.name!r} is the latest one ({self._known()}): activate one, or name one, as "
                f"in '{self.name}@{model.spec.version}'.",
                field="model",
            )
        return model

    def newest(self) -> Model:
        """The latest version, or the one asked for last where none is; there is one at least."""
        return self.versions.get(self.latest or "") or next(reversed(self.versions.values()))

    def status(self, model: Model, resident_bytes: int) -> ModelStatus:
        """One of them as the world sees it; ``resident_bytes`` is what its process takes, where it has one."""
        latest = model.spec.version == self.latest
        return model.status(latest=latest, pinned=self.pinned, resident_bytes=resident_bytes)

    def next_version(self) -> str:
        """The name of a version that nobody has named: the next number. That of a failed one is given again."""
        taken = [int(name) for name, model in self.versions.items() if name.isdecimal() and model.state != "failed"]
        return str(max(self._last_number, *taken, 0) + 1)

    def claim(self, *, back: bool = False) -> Claim:
        """The youngest claim to be the latest version."""
        self._claims += 1
        return Claim(self._claims, back)

    def activate(self, version: str, claim: Claim) -> bool:
        """Make a version the latest, unless a younger claim was honoured before; whether it is the latest now."""
        if claim.number < self._honoured:
            return self.latest == version
        self._honoured = claim.number
        self.before = [each for each in self.before if each not in (version, self.latest)]
        if self.latest is not None and self.latest != version and not claim.back:
            self.before.append(self.latest)
        self.latest = version
        self._led.add(version)
        return True

    def became_ready(self, version: str) -> None:
        """Note that a version answers: its number is not given again."""
        if version.isdecimal():
            self._last_number = max(self._last_number, int(version))

    def configure(self, settings: ModelSettings) -> None:
        """Change what the settings have; the rest stays."""
        changes = {field: value for field, value in structs.asdict(settings).items() if value is not None}
        self.settings = structs.replace(self.settings, **changes)
        self.pinned = self.pinned if settings.pinned is None else settings.pinned

    def surplus(self, keep: int) -> list[Model]:
        """The replaced versions that need not stay loaded, when so many beside the latest may."""
        kept = self._needed().union(self.before[max(0, len(self.before) - keep) :])
        return [model for name, model in self.versions.items() if name in self._led and name not in kept]

    def forget_oldest(self) -> None:
        """Forget the oldest of the versions that are not loaded, beyond those that are remembered."""
        needed = self._needed()
        idle = [name for name, model in self.versions.items() if not model.loaded and name not in needed]
        for name in idle[: max(0, len(idle) - MAX_KNOWN)]:
            self.forget(name)

    def forget(self, version: str) -> None:
        """Drop a version."""
        self.versions.pop(version, None)
        self.before = [each for each in self.before if each != version]
        self._led.discard(version)
        if self.latest == version:
            self.latest = None

    def stand_by(self, version: str) -> None:
        """Keep a version loaded that was replaced before."""
        self._led.discard(version)

    def needs(self, version: str) -> bool:
        """Whether requests that name no version may go to it."""
        return version in self._needed()

    def _needed(self) -> set[str]:
        """The versions that requests go to which name none."""
        needed = set(self.router.versions) if self.router else set()
        return needed | {self.latest} if self.latest is not None else needed

    def _known(self) -> str:
        return "versions: " + ", ".join(sorted(self.versions, key=_by_number))


def _by_number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else 0, version)
