"""Modules of this kernel into the engine and back, against an engine in this process and a real server."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.download import Download
from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.client.upload import announced, upload
from jupyter_streaminfer.protocol import BeginUpload, ModelFile, StreaminferError

EXAMPLE = torch.zeros(2, 4)
LABELS = ["no", "yes", "maybe"]
QUIET: Any = {"placement": "thread", "progress": False}


class Net(nn.Module):
    def __init__(self, size: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, 3))
        self.scale = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * self.scale


@pytest.fixture
def name(client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"net-{abs(hash(request.node.name)) % 10**6}"
    yield name
    if name in {model.name for model in client.models()}:
        client.unload(name)


def test_a_module_is_served_as_it_computes(client: Client, name: str) -> None:
    torch.manual_seed(0)
    net = Net(dropout=0.5).train()
    net(torch.ones(1, 4)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]  # type: ignore[union-attr]
    status = client.publish(name, net, EXAMPLE, **QUIET)
    assert (status.name, status.state, status.latest) == (name, "ready", True)
    assert net.training
    assert all(each.training for each in net.modules())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))  # type: ignore[arg-type]
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    answer = client.predict(name, rows)
    assert answer.version == status.version
    with torch.no_grad():
        assert np.allclose(answer.array, net.eval()(torch.tensor(rows)), atol=1e-5)


def test_labels_make_it_a_classifier(client: Client, name: str) -> None:
    net = Net().eval()
    client.publish(name, net, EXAMPLE, labels=LABELS, **QUIET)
    answer = client.predict(name, torch.ones(2, 4))
    with torch.no_grad():
        wanted = net(torch.ones(1, 4)).softmax(-1)[0]
    assert answer.labels == [LABELS[int(wanted.argmax())]] * 2
    assert answer.confidences[0] == pytest.approx(float(wanted.max()), abs=1e-5)


def test_labels_that_do_not_fit_are_refused(client: Client, name: str) -> None:
    with pytest.raises(StreaminferError, match="2 of them") as raised:
        client.publish(name, Net(), EXAMPLE, labels=LABELS[:2], **QUIET)
    assert raised.value.field == "labels"
    assert name not in {model.name for model in client.models()}


def test_only_weights_are_exported_and_sent_again(client: Client, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    first = client.publish(name, net, EXAMPLE, **QUIET)
    sent: list[str] = []
    write = client._transport.store.write

    async def noted(id: str, file: str, offset: int, data: bytes) -> None:
        sent.append(file)
        await write(id, file, offset, data)

    def export(*_: object, **__: object) -> None:
        raise AssertionError("exported again")

    with torch.no_grad():
        net.layers[0].weight.add_(1.0)
    monkeypatch.setattr(client._transport.store, "write", noted)
    monkeypatch.setattr(torch.export, "export", export)
    second = client.publish(name, net, **QUIET)
    assert sent == ["model.safetensors"]
    assert second.version != first.version
    answer = client.predict(name, np.ones((1, 4), dtype=np.float32))
    assert answer.version == second.version
    with torch.no_grad():
        assert np.allclose(answer.array, net.eval()(torch.ones(1, 4)), atol=1e-5)


@pytest.mark.parametrize("change", ["attribute", "layer", "another module"])
def test_a_graph_that_changed_is_exported_again(client: Client, name: str, change: str) -> None:
    net = Net()
    client.publish(name, net, EXAMPLE, **QUIET)
    if change == "attribute":
        net.scale = 3.0
    elif change == "layer":
        net.layers[1] = nn.Tanh()
    else:
        net = Net(size=5)
    client.publish(name, net, **QUIET)
    with torch.no_grad():
        wanted = net.eval()(torch.ones(1, 4))
    assert np.allclose(client.predict(name, np.ones((1, 4))).array, wanted, atol=1e-5)


def test_the_first_needs_an_example(client: Client, name: str) -> None:
    with pytest.raises(StreaminferError, match="example") as raised:
        client.publish(name, Net())
    assert raised.value.field == "example"


def test_it_may_only_stand_by(client: Client, name: str) -> None:
    net = Net()
    first = client.publish(name, net, EXAMPLE, **QUIET)
    second = client.publish(name, net, swap=False, version="trial", **QUIET)
    assert second.version == "trial"
    rows = np.ones((1, 4))
    assert client.predict(name, rows).version == first.version
    assert client.predict(f"{name}@trial", rows).version == "trial"
    assert client.activate(name, "trial").latest
    assert client.predict(name, rows).version == "trial"


def test_back_again(client: Client, name: str) -> None:
    net = Net()
    first = client.publish(name, net, EXAMPLE, **QUIET)
    with torch.no_grad():
        net.layers[0].weight.add_(1.0)
    client.publish(name, net, **QUIET)
    assert client.rollback(name, progress=False).version == first.version
    assert client.predict(name, np.ones((1, 4))).version == first.version


def test_weights_come_down_as_they_went_up(client: Client, name: str, tmp_path: Path) -> None:
    net, other = Net(), Net()
    client.publish(name, net, EXAMPLE, **QUIET)
    folder = client.download(name, tmp_path / "down", progress=False)
    other.load_state_dict(load_file(folder / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "program.pt2"]


def test_what_is_there_is_not_brought_again_and_a_part_goes_on(
    client: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.publish(name, Net(), EXAMPLE, **QUIET)
    folder = client.download(name, tmp_path, progress=False)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    read, offsets = client._transport.store.read, list[tuple[str, int]]()

    async def noted(name: str, version: str, file: ModelFile, offset: int) -> bytes:
        offsets.append((file.name, offset))
        return await read(name, version, file, offset)

    monkeypatch.setattr(client._transport.store, "read", noted)
    digest = next(file.sha256 for file in announced(folder) if file.name == path.name)
    path.unlink()
    (folder / f".{path.name}.{digest[:16]}.part").write_bytes(whole[:100])
    client.download(name, tmp_path, progress=False)
    assert offsets == [(path.name, 100)]
    assert path.read_bytes() == whole
    assert not [each for each in folder.iterdir() if each.name.startswith(".")]


def test_a_folder_is_brought_and_loaded(client: Client, name: str, tmp_path: Path) -> None:
    net = Net()
    client.publish(name, net, EXAMPLE, **QUIET)
    folder = client.download(name, tmp_path / "down", progress=False)
    (folder / "README.md").write_text("not a model's")
    stored = client.upload(name, folder, version="copy", progress=False)
    assert stored.version == "copy"
    assert [file.name for file in stored.files] == ["config.json", "model.safetensors", "program.pt2"]
    client.swap(name, stored.path, version="copy", **QUIET)
    assert client.predict(name, np.ones((1, 4))).version == "copy"


@pytest.mark.parametrize("content", [{}, {"model.pkl": b"x"}])
def test_a_folder_without_a_model_is_refused(client: Client, tmp_path: Path, content: dict[str, bytes]) -> None:
    for file, data in content.items():
        (tmp_path / file).write_bytes(data)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StreaminferError) as raised:
            client.upload("nothing", folder)
        assert raised.value.field == "folder"


class Memory:
    """A store of one upload, whose connection is lost at chosen chunks."""

    def __init__(self, losses: dict[int, bool]) -> None:
        self.losses = losses
        """By the number of the write: whether its data arrived all the same."""
        self.files: dict[str, bytes] = {}
        self.aborted = False
        self.writes = 0

    async def begin(self, request: BeginUpload) -> Any:
        self.files = {file.name: b"" for file in request.files}
        return await self.status("u")

    async def status(self, id: str) -> Any:
        from jupyter_streaminfer.protocol import UploadStatus

        return UploadStatus(id, "m", "1", {name: len(data) for name, data in self.files.items()}, 600.0)

    async def write(self, id: str, file: str, offset: int, data: bytes) -> None:
        arrived = self.losses.get(self.writes)
        self.writes += 1
        if arrived is None or arrived:
            assert offset == len(self.files[file])
            self.files[file] += data
        if arrived is not None:
            raise ConnectionLostError("lost", sent=True)

    async def commit(self, id: str) -> Any:
        from jupyter_streaminfer.protocol import StoredModel

        return StoredModel("m", "1", "/store/m/1", [])

    async def abort(self, id: str) -> None:
        self.aborted = True


async def test_an_upload_survives_lost_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_streaminfer.client.upload.MAX_CHUNK_BYTES", 1000)
    monkeypatch.setattr("jupyter_streaminfer.client.retries.FIRST_S", 0.0)
    contents = {"a.json": os.urandom(2500), "b.safetensors": os.urandom(3000)}
    for file, data in contents.items():
        (tmp_path / file).write_bytes(data)
    store = Memory({1: True, 3: False, 4: False, 6: True})
    await upload(store, BeginUpload("m", announced(tmp_path)), tmp_path, lambda step: None)  # type: ignore[arg-type]
    assert store.files == contents
    assert not store.aborted


async def test_an_upload_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    store = Memory({})
    reached = asyncio.Event()

    async def stuck(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    store.write = stuck  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(
        upload(store, BeginUpload("m", announced(tmp_path)), tmp_path, lambda step: None)  # type: ignore[arg-type]
    )
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.aborted


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "model.pkl", ".hidden.json"])
async def test_a_server_does_not_choose_where_files_lie(tmp_path: Path, name: str) -> None:
    class Evil:
        async def files(self, *_: object) -> list[ModelFile]:
            return [ModelFile(name, 2, "0" * 64)]

    with pytest.raises(StreaminferError, match="refused"):
        await Download(Evil(), "m", "1", tmp_path / "in", lambda step: None).run()  # type: ignore[arg-type]
    assert not (tmp_path / "evil.json").exists()


async def test_a_damaged_file_is_not_kept(tmp_path: Path) -> None:
    class Damaged:
        async def files(self, *_: object) -> list[ModelFile]:
            return [ModelFile("a.json", 2, "0" * 64)]

        async def read(self, *_: object) -> bytes:
            return b"{}"

    with pytest.raises(StreaminferError, match="checksum"):
        await Download(Damaged(), "m", "1", tmp_path, lambda step: None).run()  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
