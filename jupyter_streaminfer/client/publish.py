"""The calls that bring a model from this kernel into the engine, and its weights back."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from jupyter_streaminfer.client.download import Download
from jupyter_streaminfer.client.fingerprint import fingerprint
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.models import ModelCalls
from jupyter_streaminfer.client.progress import Report, run_with_bar
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.transport import Transport
from jupyter_streaminfer.client.upload import announced, upload
from jupyter_streaminfer.protocol import (
    BeginUpload,
    LoadModel,
    LoadVersion,
    ModelStatus,
    Placement,
    Signature,
    StoredModel,
    StreaminferError,
)

CONFIG = "config.json"


class _Published:
    """What this client published under a name: what the next publication can use again."""

    def __init__(
        self, module: Any, print: str | None, example: Any, given: object, files: tempfile.TemporaryDirectory[str]
    ) -> None:
        """``print``: the module's `fingerprint`; ``given``: whatever else its graph and signature were made of."""
        self.example = example
        self._module = weakref.ref(module)
        self._print = print
        self._given = given
        self._files = files

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return Path(self._files.name)

    def fits(self, module: Any, print: str | None, example: Any, given: object) -> bool:
        """Whether the graph is still that of the module, and only its weights may be others."""
        return (
            self._module() is module
            and example is self.example
            and given == self._given
            and self._print is not None
            and self._print == print
        )


class PublishCalls(ModelCalls):
    """Of a client: what goes into the engine's store, and what comes out of it."""

    def __init__(
        self, transport: Transport, io: IOLoop, release: Callable[[], object], retries: Retries | None = None
    ) -> None:
        super().__init__(transport, io, release, retries)
        self._published: dict[str, _Published] = {}

    def publish(
        self,
        name: str,
        module: Any,
        example: Any = None,
        *,
        labels: Sequence[str] | None = None,
        signature: Signature | Mapping[str, Any] | None = None,
        version: str | None = None,
        placement: Placement = "auto",
        swap: bool = True,
        progress: bool = True,
    ) -> ModelStatus:
        """Have the engine serve a ``torch.nn.Module`` of this kernel, as it is now; returns once it is ready.

        The first time its graph is exported, which takes an ``example`` of its inputs: a tensor of rows, a tuple of
        them, or a dict by the names of ``forward``'s parameters. Later on only its weights are sent, while its graph
        is the same. ``labels``: the classes, where its output is a logit for each. ``signature``: more that a graph
        does not say (`protocol.Signature`). ``placement``: as in `load`. Requests go over to the new version when it
        is ready, unless ``swap=False``: then it stands by. The module stays as it is: mode, device, gradients.
        Nothing is pickled.
        """
        self._check_open()
        known = self._published.get(name)
        example = known.example if example is None and known is not None else example
        if example is None:
            raise StreaminferError(
                "invalid_request",
                f"example: the first publish of {name!r} needs rows that the module can compute, such as images[:2].",
                field="example",
            )
        if isinstance(signature, Mapping):
            signature = msgspec.convert(signature, Signature)
        given = (None if labels is None else list(labels), signature)
        print = fingerprint(module)
        files = tempfile.TemporaryDirectory(prefix="streaminfer-")
        with ExitStack() as undo:
            undo.callback(files.cleanup)
            folder = Path(files.name)
            if known is not None and known.fits(module, print, example, given):
                _write_weights(folder, module, known.folder)
            else:
                _write(folder, module, example, given[0], signature)
            request = BeginUpload(name, announced(folder), version)
            status = run_with_bar(
                self._io, lambda report: self._publish(request, folder, placement, swap, report), shown=progress
            )
            undo.pop_all()
        self._published[name] = _Published(module, print, example, given, files)
        return status

    def upload(
        self, name: str, folder: str | os.PathLike[str], *, version: str | None = None, progress: bool = True
    ) -> StoredModel:
        """Bring a model folder that is here into the engine's store; `load` or `swap` then take its ``path``.

        Files that the store has of that model already are not sent again. ``version``: absent, the next number.
        """
        self._check_open()
        source = Path(folder).expanduser().absolute()
        request = BeginUpload(name, announced(source), version)
        return run_with_bar(
            self._io, lambda report: upload(self._transport.store, request, source, report), shown=progress
        )

    def download(self, name: str, folder: str | os.PathLike[str], *, progress: bool = True) -> Path:
        """Bring the files of a model, or of ``name@version``, into a folder, which is returned.

        Each is checked; what is there already is not brought again. ``model.safetensors`` of a published module
        holds its ``state_dict``.
        """
        self._check_open()
        target = Path(folder).expanduser().absolute()
        run_with_bar(self._io, lambda report: self._download(name, target, report), shown=progress)
        return target

    async def _publish(
        self, request: BeginUpload, folder: Path, placement: Placement, activate: bool, report: Report
    ) -> ModelStatus:
        name, transport = request.name, self._transport
        stored = await upload(transport.store, request, folder, report)
        fields = LoadVersion(stored.path, stored.version, placement=placement, activate=activate)
        states = [model.state for model in await self._patiently(transport.models) if model.name == name]
        if any(state != "failed" for state in states):
            return await self._loading(name, lambda: transport.swap(name, fields), report)
        first = LoadModel(stored.path, stored.version, placement=placement, name=name)
        return await self._loading(name, lambda: transport.load(first), report)

    async def _download(self, ref: str, folder: Path, report: Report) -> None:
        name, _, version = ref.partition("@")
        if version in ("", "latest"):
            try:
                # The version that it is now, so that a swap meanwhile cannot mix two.
                version = (await self._transport.model(name)).version
            except StreaminferError as error:
                if error.code != "model_not_found":
                    raise
                version = "latest"
        await Download(self._transport.store, name, version, folder, report).run()


def _write(folder: Path, module: Any, example: Any, labels: list[str] | None, signature: Signature | None) -> None:
    """Write graph and weights into the empty folder."""
    from jupyter_streaminfer.inference.published import write_published

    found = write_published(folder, module, example, signature)
    if labels is None:
        return
    outputs = [spec.shape for spec in found.outputs]
    if outputs != [[len(labels)]]:
        raise StreaminferError(
            "invalid_request",
            f"labels: {len(labels)} of them need one output of that many numbers a row; the module's have {outputs}.",
            field="labels",
        )
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    found = msgspec.structs.replace(found, kind="classes", labels=labels)
    config["signature"] = msgspec.to_builtins(found)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_weights(folder: Path, module: Any, previous: Path) -> None:
    """Write weights into the empty folder, with the graph that was published before."""
    from jupyter_streaminfer.inference.published import write_weights

    write_weights(folder, module, previous)
