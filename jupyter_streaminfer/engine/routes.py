"""The routes of all models: what a new one must be, and how they outlive the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import msgspec

from jupyter_streaminfer.engine.route_files import KeptRoute, RouteFiles
from jupyter_streaminfer.engine.routing import Router
from jupyter_streaminfer.protocol import Route, StreaminferError, invalid_request

MAX_ERROR = 1e-6
"""How far the arms' weights may be from a sum of 1."""

_log = logging.getLogger(__name__)


class Routes:
    """The routers by the name of their model; kept in files where there is a folder for them."""

    def __init__(self, state_dir: str, ready: Callable[[str, str], bool], wake: Callable[[str, str], None]) -> None:
        """``ready`` and ``wake`` are a `Router`'s, of a model by its name. Routes that were kept are there at once."""
        self._ready = ready
        self._wake = wake
        self._routers: dict[str, Router] = {}
        self._files = RouteFiles(Path(state_dir) / "routes") if state_dir else None
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        for name, kept in (self._files.read() if self._files else {}).items():
            try:
                check(kept.route)
            except StreaminferError as error:
                _log.warning("The kept route of model %r is not used: %s", name, error)
                continue
            self._add(name, kept.route).restore(kept.rolled_back)

    def get(self, name: str) -> Router | None:
        """The router of that model, if it has a route."""
        return self._routers.get(name)

    def set(self, name: str, route: Route, known: Collection[str]) -> None:
        """Route the model's requests from now on, with figures that begin anew; ``known`` are its versions.

        Raises `StreaminferError` for a route that cannot be; then the one before goes on.
        """
        check(route, known)
        self._add(name, route)
        self._keep_soon(name)

    def remove(self, name: str) -> None:
        """Route the model no more."""
        if self._routers.pop(name, None) is not None:
            self._keep_soon(name)

    async def close(self) -> None:
        """Wait for what is still to be written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _add(self, name: str, route: Route) -> Router:
        router = self._routers[name] = Router(name, route, partial(self._ready, name), partial(self._wake, name))
        router.on_rolled_back = partial(self._keep_soon, name)
        return router

    def _keep_soon(self, name: str) -> None:
        if self._files is None:
            return
        task = asyncio.create_task(self._keep(self._files, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, files: RouteFiles, name: str) -> None:
        """Write what is there now; one after the other, so that the last one stays."""
        async with self._writing:
            router = self._routers.get(name)
            kept = KeptRoute(name, router.route, router.rolled_back) if router else None
            try:
                await asyncio.to_thread(files.write, name, kept)
            except OSError as error:
                _log.warning("The route of model %r will not outlive this server: %s", name, error)


def check(route: Route, known: Collection[str] | None = None) -> None:
    """Refuse a route that cannot be, with a `StreaminferError`; ``known`` are the versions that it may name."""
    try:
        msgspec.convert(msgspec.to_builtins(route), Route)  # a script builds it past its constraints
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
    arms = [arm.version for arm in route.arms]
    if repeated := sorted({version for version in arms if arms.count(version) > 1}):
        raise _invalid("arms", f"names version {repeated[0]!r} more than once. Give each version one weight")
    total = sum(arm.weight for arm in route.arms)
    if not abs(total - 1) <= MAX_ERROR:
        raise _invalid("arms", f"the weights sum to {total:.9g}; they must sum to 1")
    if route.canary is not None and route.canary.version in arms:
        raise _invalid("canary.version", f"{route.canary.version!r} is an arm already. Name a version that is none")
    taken = [*arms, *([route.canary.version] if route.canary else [])]
    if route.shadow is not None and route.shadow.version in taken:
        raise _invalid(
            "shadow.version", f"{route.shadow.version!r} answers requests itself. Name a version that does not"
        )
    if known is None:
        return
    for field, version in (
        *(("arms", version) for version in arms),
        *((("canary.version", route.canary.version),) if route.canary else ()),
        *((("shadow.version", route.shadow.version),) if route.shadow else ()),
    ):
        if version not in known:
            raise _invalid(
                field,
                f"there is no version {version!r} (versions: {', '.join(sorted(known)) or 'none'}). Load it first",
            )


def _invalid(field: str, reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"{field}: {reason}.", field=field)
