"""What models take and give, as far as this client has asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from jupyter_streaminfer.protocol import ModelStatus, Signature, StreaminferError

KEPT = 256

K = TypeVar("K", bound=Hashable)


class Signatures:
    """Signatures of versions, each looked up once. Used on the I/O loop only."""

    def __init__(self, look: Callable[[str], Awaitable[ModelStatus]]) -> None:
        """``look``: how a model's status is had, by its reference."""
        self._look = look
        self._versions: OrderedDict[tuple[str, str], Signature | None] = OrderedDict()
        self._current: OrderedDict[str, Signature | None] = OrderedDict()
        """By what requests call it: the version that answered last, or would have."""

    async def wanted(self, ref: str, *, again: bool = False) -> Signature | None:
        """What a request for ``ref`` is to be formed by; None while it is not known, as the model is loading.

        ``again``: whatever was known of it before.
        """
        if again or ref not in self._current:
            status = await self._look(ref)
            if status.info is None:
                return None
            self._keep(status.name, status.version, status.info.signature)
            _put(self._current, ref, status.info.signature)
        return self._current[ref]

    async def answered(self, ref: str, name: str, version: str, *, again: bool = False) -> Signature | None:
        """What the version that answered a request for ``ref`` gives.

        One that is freed already, as after a swap, cannot be asked any longer: then that of the version after it.
        The answer is there, and is not lost because nobody says what it is: then None.
        """
        if again or (name, version) not in self._versions:
            for each in (f"{name}@{version}", name):
                try:
                    status = await self._look(each)
                except StreaminferError as error:
                    if error.info.retryable:
                        raise
                    continue
                if status.info is not None:
                    self._keep(name, version, status.info.signature)
                    break
        if (name, version) not in self._versions:
            return self._current.get(ref)
        _put(self._current, ref, self._versions[name, version])
        return self._current[ref]

    def _keep(self, name: str, version: str, signature: Signature | None) -> None:
        _put(self._versions, (name, version), signature)


def _put(kept: OrderedDict[K, Signature | None], key: K, signature: Signature | None) -> None:
    kept[key] = signature
    kept.move_to_end(key)
    if len(kept) > KEPT:
        kept.popitem(last=False)
