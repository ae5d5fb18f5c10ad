"""The store and its uploads: whole or not at all, within its folder, within its bounds."""

import asyncio
import hashlib
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jupyter_streaminfer.engine import EngineConfig
from jupyter_streaminfer.engine.store import Store
from jupyter_streaminfer.engine.stored_file import MANIFEST
from jupyter_streaminfer.engine.upload_checks import check_announced, check_arrived
from jupyter_streaminfer.engine.uploads import MAX_UPLOADS, Uploads
from jupyter_streaminfer.protocol import BeginUpload, ModelFile, ModelStatus, StoredModel, StreaminferError

CONFIG = b'{"architectures": ["MlpClassifier"]}'
WEIGHTS = save({"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros((0, 2), np.float16)})
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}


class Bench:
    """A store, its uploads, and what an engine would say is loaded."""

    def __init__(self, folder: Path, **bounds: int) -> None:
        self.folder = folder
        self.loaded: list[ModelStatus] = []
        self.store = Store(
            EngineConfig(store_dir=str(folder), **bounds),
            lambda name: [each for each in self.loaded if each.name == name],
        )
        self.uploads = Uploads(self.store)

    def add(self, version: str, path: Path | str, state: str = "ready", name: str = "net") -> None:
        self.loaded.append(ModelStatus(name=name, version=version, state=state, path=str(path), placement="thread"))

    async def begin(self, files: dict[str, bytes] = FILES, **fields: str | None) -> str:
        announced = [announce(name, data) for name, data in files.items()]
        return (await self.uploads.begin(BeginUpload("net", announced, **fields), "ann")).id

    async def send(self, id: str, files: dict[str, bytes] = FILES) -> None:
        for name, data in files.items():
            at = (await self.uploads.status(id, "ann")).received[name]
            if at < len(data):
                await self.uploads.write(id, name, at, data[at:], "ann")

    async def put(self, files: dict[str, bytes] = FILES, **fields: str | None) -> StoredModel:
        id = await self.begin(files, **fields)
        await self.send(id, files)
        return await self.uploads.commit(id, "ann")

    def left(self) -> list[str]:
        """What lies in the store besides versions, but for the lock of an engine that lives."""
        paths = (self.folder / ".uploads").rglob("*")
        return [path.name for path in paths if path.is_file() and path.name != "lock"]

    async def close(self) -> None:
        await self.uploads.close()
        await self.store.close()


def announce(name: str, data: bytes) -> ModelFile:
    return ModelFile(name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "store")
    yield bench
    await bench.close()


async def refused(work) -> StreaminferError:
    with pytest.raises(StreaminferError) as error:
        await work
    return error.value


async def test_an_upload_becomes_a_version_by_one_rename(bench: Bench) -> None:
    id = await bench.begin()
    await bench.uploads.write(id, "model.safetensors", 0, WEIGHTS[:7], "ann")
    status = await bench.uploads.write(id, "model.safetensors", 7, WEIGHTS[7:], "ann")
    assert status.received == {"config.json": 0, "model.safetensors": len(WEIGHTS)}
    await bench.uploads.write(id, "config.json", 0, CONFIG, "ann")
    assert not (bench.folder / "net").exists()
    stored = await bench.uploads.commit(id, "ann")
    assert (stored.name, stored.version, stored.path) == ("net", "1", str(bench.folder / "net" / "1"))
    assert {file.name: (Path(stored.path) / file.name).read_bytes() for file in stored.files} == FILES
    assert bench.left() == []
    assert await bench.store.files("net") == stored.files
    assert await bench.store.read("net", "1", "model.safetensors", 7, 5) == WEIGHTS[7:12]
    assert await bench.store.read("net", "latest", "config.json") == CONFIG
    assert await bench.store.read("net", "1", "config.json", len(CONFIG)) == b""
    assert (await refused(bench.uploads.status(id, "ann"))).code == "upload_not_found"


async def test_versions_count_up_past_what_is_stored_loaded_and_coming(bench: Bench) -> None:
    bench.add("4", "/elsewhere")
    bench.add("9", "/broken", "failed")
    assert (await bench.put()).version == "5"
    first, second = await bench.begin(), await bench.begin()
    versions = [(await bench.uploads.status(id, "ann")).version for id in (first, second)]
    assert versions == ["6", "7"]
    assert (await bench.put(version="best")).version == "best"
    assert await bench.store.stored_versions("net") == ["5", "best"]
    for taken in ("5", "best", "4", "6"):
        error = await refused(bench.begin(version=taken))
        assert (error.code, error.field) == ("invalid_request", "version")


@pytest.mark.parametrize("version", ["latest", "../1", "a/b", "", ".x", "x" * 33, "1\n"])
async def test_a_version_that_is_none_is_refused(bench: Bench, version: str) -> None:
    assert (await refused(bench.begin(version=version))).field == "version"
    assert not (bench.folder / "net").exists()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../up", "", "a" * 65, ".uploads", "a\0"])
async def test_a_name_that_is_none_is_refused(bench: Bench, name: str) -> None:
    error = await refused(bench.uploads.begin(BeginUpload(name, [announce("config.json", CONFIG)])))
    assert (error.code, error.field) == ("invalid_request", "name")


@given(st.text(max_size=40) | st.from_regex(r"[./\\a]{1,9}\.(json|pkl|bin|safetensors)", fullmatch=True))
def test_no_announced_file_can_leave_its_folder(name: str) -> None:
    with suppress(StreaminferError):
        check_announced([announce("config.json", b"{}"), ModelFile(name, 0, "0" * 64)])
        assert not set(name) & set("/\\\0:")
        assert Path(name).name == name
        assert not name.startswith(".")


@pytest.mark.parametrize(
    "names", [["model.safetensors"], ["a.pt2", "b.pt2"], ["config.json", "Config.json"], ["x.bin"]]
)
async def test_files_that_are_no_model_together_are_refused(bench: Bench, names: list[str]) -> None:
    assert (await refused(bench.begin(dict.fromkeys(names, b"{}")))).field == "files"


async def test_a_model_may_be_one_file(bench: Bench) -> None:
    stored = await bench.put({"net.pt2": b"PK"})
    assert stored.path == str(bench.folder / "net" / "1" / "net.pt2")
    bench.add("1", stored.path)
    assert await bench.store.files("net") == stored.files


async def test_it_goes_on_where_it_stopped(bench: Bench) -> None:
    id = await bench.begin()
    await bench.uploads.write(id, "config.json", 0, CONFIG[:4], "ann")
    for wrong in (0, 3, 5, len(CONFIG)):
        error = await refused(bench.uploads.write(id, "config.json", wrong, b"xx", "ann"))
        assert (error.code, error.field) == ("invalid_request", "offset")
        assert "has 4 bytes" in str(error)
    assert (await refused(bench.uploads.commit(id, "ann"))).field == "offset"
    await bench.send(id)
    assert (await bench.uploads.commit(id, "ann")).version == "1"


async def test_two_writers_of_one_file_do_not_mix(bench: Bench) -> None:
    id = await bench.begin()
    results = await asyncio.gather(
        *(bench.uploads.write(id, "config.json", 0, CONFIG, "ann") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, StreaminferError) for result in results) == 3
    await bench.send(id)
    await bench.uploads.commit(id, "ann")


async def test_a_writer_that_gives_up_leaves_whole_bytes(bench: Bench) -> None:
    id = await bench.begin()
    write = asyncio.ensure_future(bench.uploads.write(id, "config.json", 0, CONFIG, "ann"))
    await asyncio.sleep(0)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert f"has {len(CONFIG)} bytes" in str(await refused(bench.uploads.write(id, "config.json", 1, b"", "ann")))
    await bench.send(id)
    await bench.uploads.commit(id, "ann")


async def test_what_came_damaged_is_sent_again(bench: Bench) -> None:
    id = await bench.begin()
    error = await refused(bench.uploads.write(id, "config.json", 0, b"x" * len(CONFIG), "ann"))
    assert (error.code, error.field) == ("invalid_request", "file")
    assert (await bench.uploads.status(id, "ann")).received["config.json"] == 0
    assert (await refused(bench.uploads.write(id, "config.json", 0, CONFIG + b"x", "ann"))).code == "too_large"
    assert (await refused(bench.uploads.write(id, "other.json", 0, b"x", "ann"))).code == "upload_not_found"
    await bench.send(id)
    await bench.uploads.commit(id, "ann")


async def test_an_upload_is_its_clients_own(bench: Bench) -> None:
    id = await bench.begin()
    for work in (
        bench.uploads.status(id, "bob"),
        bench.uploads.write(id, "config.json", 0, CONFIG, "bob"),
        bench.uploads.commit(id, "bob"),
        bench.uploads.abort(id, "bob"),
    ):
        assert (await refused(work)).code == "upload_not_found"
    await bench.uploads.abort(id, "ann")
    assert bench.left() == []


async def test_a_file_that_is_there_is_not_sent_again(bench: Bench) -> None:
    await bench.put()
    changed = {**FILES, "config.json": b'{"architectures": []}'}
    id = await bench.begin(changed)
    assert (await bench.uploads.status(id, "ann")).received == {"config.json": 0, "model.safetensors": len(WEIGHTS)}
    await bench.send(id, changed)
    stored = await bench.uploads.commit(id, "ann")
    weights = [bench.folder / "net" / version / "model.safetensors" for version in "12"]
    assert weights[0].samefile(weights[1])
    await bench.store.remove("net", "1")
    assert weights[1].read_bytes() == WEIGHTS
    assert await bench.store.files("net", "2") == stored.files


async def test_a_file_that_was_changed_by_hand_is_no_source(bench: Bench) -> None:
    path = Path((await bench.put()).path) / "model.safetensors"
    path.write_bytes(b"other" + WEIGHTS[5:])
    os.utime(path, ns=(0, 0))
    assert (await bench.uploads.status(await bench.begin(), "ann")).received["model.safetensors"] == 0
    [_, weights] = await bench.store.files("net")
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def tensor(shape: list[int], *offsets: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


DAMAGED = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header beyond the file": (10**6).to_bytes(8, "little") + b"{}",
    "huge header": (2**63).to_bytes(8, "little") + b"{}" * 20,
    "cut": WEIGHTS[:-1],
    "cut in the header": WEIGHTS[:40],
    "longer": WEIGHTS + b"\0",
    "no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "overlap": header(a=tensor([2], 0, 8), b=tensor([2], 4, 12)) + bytes(12),
    "gap": header(a=tensor([2], 0, 8), b=tensor([1], 12, 16)) + bytes(16),
    "shape and place differ": header(a=tensor([3], 0, 8)) + bytes(8),
    "negative": header(a=tensor([-1, -2], 0, 8)) + bytes(8),
    "backwards": header(a=tensor([2], 8, 0)) + bytes(8),
    "outside": header(a=tensor([200], 0, 800)) + bytes(8),
    "no place": header(a={"dtype": "F32", "shape": [2]}) + bytes(8),
    "nested": (200_000).to_bytes(8, "little") + b"[" * 200_000,
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_damaged_safetensors_file_is_refused_and_dropped(bench: Bench, name: str) -> None:
    files = {"config.json": b"{}", "model.safetensors": DAMAGED[name]}
    id = await bench.begin(files)
    await bench.send(id, files)
    error = await refused(bench.uploads.commit(id, "ann"))
    assert (error.code, error.field) == ("invalid_request", "model.safetensors")
    assert bench.left() == []
    assert not (bench.folder / "net").exists()


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b"null", b"\xff"])
async def test_a_config_that_is_no_object_is_refused(bench: Bench, config: bytes) -> None:
    assert (await refused(bench.put({"config.json": config}))).field == "config.json"


LENGTHS = st.integers(0, 80).map(lambda length: length.to_bytes(8, "little"))


@given(st.binary(max_size=200) | st.builds(bytes.__add__, LENGTHS, st.binary(max_size=80)))
def test_no_bytes_break_the_check_of_safetensors(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(StreaminferError):
        (Path(folder) / "a.safetensors").write_bytes(data)
        check_arrived(Path(folder) / "a.safetensors")
        assert safetensors.numpy.load(data) is not None


class TestBounds:
    async def test_one_upload(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, max_upload_bytes=len(WEIGHTS))
        error = await refused(bench.begin())
        assert (error.code, error.field) == ("too_large", "files")
        assert bench.left() == []
        await bench.close()

    async def test_the_whole_store_with_what_is_coming(self, tmp_path: Path) -> None:
        size = sum(map(len, FILES.values()))
        bench = Bench(tmp_path, max_store_bytes=3 * size)
        await bench.put()
        other = {"config.json": b'{"a": 1}', "model.safetensors": save({"c": np.ones(20)})}
        assert sum(map(len, other.values())) > size
        id = await bench.begin(other)
        assert (await refused(bench.begin(other))).code == "overloaded"
        assert (await bench.put()).version == "3", "the same files take no more"
        await bench.uploads.abort(id, "ann")
        await bench.begin(other)
        await bench.close()

    async def test_uploads_at_once(self, bench: Bench) -> None:
        ids = [await bench.begin() for _ in range(MAX_UPLOADS)]
        error = await refused(bench.begin())
        assert (error.code, error.info.retryable) == ("overloaded", True)
        await bench.uploads.abort(ids[0], "ann")
        await bench.begin()

    async def test_an_announcement_that_no_disk_holds(self, bench: Bench) -> None:
        files = [announce("config.json", CONFIG), ModelFile("a.safetensors", 2**33, "0" * 64)]
        bench.store._config = EngineConfig(store_dir=str(bench.folder), max_store_bytes=2**32)
        assert (await refused(bench.uploads.begin(BeginUpload("net", files)))).code == "overloaded"

    async def test_a_full_disk_drops_the_upload(self, bench: Bench) -> None:
        data = save({"a": np.zeros(2**19, np.float32)})
        id = await bench.begin({"config.json": CONFIG, "a.safetensors": data})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
        try:
            error = await refused(bench.uploads.write(id, "a.safetensors", 0, data, "ann"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert error.code == "overloaded"
        assert "full" in str(error)
        assert bench.left() == []
        assert (await refused(bench.uploads.status(id, "ann"))).code == "upload_not_found"


class TestWhatIsLeft:
    async def test_an_upload_that_stopped_coming_is_dropped(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.uploads = Uploads(bench.store, expires_s=0.05)
        id = await bench.begin()
        async with asyncio.timeout(30):
            while bench.left():  # noqa: ASYNC110 (nobody is told of an end that nobody waits for)
                await asyncio.sleep(0.01)
        assert (await refused(bench.uploads.status(id, "ann"))).code == "upload_not_found"
        await bench.close()

    async def test_the_engines_end_drops_all(self, bench: Bench) -> None:
        await bench.begin()
        assert bench.left()
        await bench.close()
        assert list((bench.folder / ".uploads").iterdir()) == []
        assert (await refused(bench.store.files("net"))).code == "overloaded"

    async def test_a_start_removes_what_a_killed_engine_left_and_nothing_else(self, bench: Bench) -> None:
        await bench.begin()
        program = (
            "import asyncio, os, signal, sys\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\n"
            "from test_store import Bench\n"
            f"asyncio.run(Bench(Path({str(bench.folder)!r})).begin())\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
        assert len(bench.left()) == 2 * len(FILES)
        other = Bench(bench.folder)
        await other.store.sweep()
        await other.close()
        assert len(bench.left()) == len(FILES), "what is under way in a living engine stays"


class TestInside:
    async def test_no_link_is_followed(self, bench: Bench, tmp_path: Path) -> None:
        secret = tmp_path / "secret.json"
        secret.write_text("{}")
        folder = Path((await bench.put()).path)
        (folder / "link.json").symlink_to(secret)
        os.mkfifo(folder / "pipe.json")
        (folder / "notes.py").write_text("")
        assert {file.name for file in await bench.store.files("net")} == set(FILES)
        for name in ("link.json", "pipe.json", "notes.py", MANIFEST, "../../../secret.json", "..", ""):
            error = await refused(bench.store.read("net", "1", name))
            assert (error.code, error.field) == ("model_not_found", "file")
        (bench.folder / "out").symlink_to(tmp_path)
        (bench.folder / "net" / "away").symlink_to(tmp_path)
        for name, version in (("out", "store"), ("net", "away"), ("net", ".."), ("..", "store"), (".uploads", "x")):
            assert (await refused(bench.store.files(name, version))).code == "model_not_found"
            assert (await refused(bench.store.remove(name, version))).code == "model_not_found"
        assert secret.exists()

    async def test_a_name_that_is_a_link_gets_no_version(self, bench: Bench, tmp_path: Path) -> None:
        bench.folder.mkdir()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (bench.folder / "net").symlink_to(elsewhere)
        await refused(bench.put())
        assert list(elsewhere.iterdir()) == []

    async def test_what_failed_to_load_is_not_given_out(self, bench: Bench, tmp_path: Path) -> None:
        """Or whoever may load could read any folder of the server's: a load that fails is listed with its path."""
        (tmp_path / "secret.json").write_text("{}")
        for state in ("failed", "loading"):
            bench.add("1", tmp_path, state)
            assert (await refused(bench.store.files("net", "1"))).code == "model_not_found"
        bench.add("2", tmp_path)
        assert [file.name for file in await bench.store.files("net", "2")] == ["secret.json"]

    async def test_a_loaded_version_is_not_removed(self, bench: Bench) -> None:
        stored = await bench.put()
        bench.add("7", stored.path)
        assert (await refused(bench.store.remove("net", "1"))).field == "version"
        bench.loaded.clear()
        await bench.store.remove("net", "1")
        assert not (bench.folder / "net").exists()
        assert (await refused(bench.store.remove("net", "1"))).code == "model_not_found"


async def test_without_a_store_uploads_are_refused() -> None:
    store = Store(EngineConfig(), lambda name: [])
    uploads = Uploads(store)
    await store.sweep()
    error = await refused(uploads.begin(BeginUpload("net", [announce("config.json", CONFIG)])))
    assert "store_dir" in str(error)
    assert await store.stored_versions("net") == []
    await uploads.close()
    await store.close()


async def test_a_damaged_manifest_is_read_anew(bench: Bench) -> None:
    stored = await bench.put()
    for text in (b"", b"{", msgspec.json.encode([{"file": 1}])):
        (Path(stored.path) / MANIFEST).write_bytes(text)
        assert await bench.store.files("net") == stored.files
