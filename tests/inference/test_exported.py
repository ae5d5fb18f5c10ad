"""Exported programs: signatures off the graph, the module's own answers, and archives that nobody should trust."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_streaminfer.protocol import Signature, StreaminferError, TensorSpec

from .encoders import answer, company, load_predictor, refused
from .modules import CLASSES, TOKENS, Masked, Mlp, Unmasked, edit_graph, export, rewrite, rows, seeded


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return export(seeded(Mlp), rows(2), path=tmp_path_factory.mktemp("mlp") / "mlp.pt2").read_bytes()


@pytest.fixture
def archive(original: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "mlp.pt2"
    path.write_bytes(original)
    return path


def expected(count: int) -> torch.Tensor:
    with torch.no_grad():
        return seeded(Mlp).eval()(rows(count))


def test_the_answers_are_the_modules(archive: Path) -> None:
    predictor = load_predictor(archive)
    predictor.warm_up()
    assert torch.allclose(torch.tensor(answer(predictor, rows(5).tolist())), expected(5), atol=1e-6)
    alone = [answer(predictor, [row])[0] for row in rows(7).tolist()]
    assert torch.allclose(torch.tensor(company(predictor, rows(7).tolist())), torch.tensor(alone), atol=1e-5)


def test_the_signature_is_read_off_the_graph(archive: Path) -> None:
    info = load_predictor(archive).info
    assert info.signature == Signature(
        [TensorSpec("x", "float32", [16])], [TensorSpec("output", "float32", [3])], "tensors"
    )
    assert info.architecture == "ExportedProgram"
    assert info.parameters == sum(each.numel() for each in Mlp().parameters())


def test_labels_come_from_the_load(archive: Path) -> None:
    (found,) = answer(load_predictor(archive, signature=CLASSES), rows(1).tolist())
    assert found["confidence"] == pytest.approx(float(expected(1).softmax(-1).max()), abs=1e-6)
    finished = Signature(CLASSES.inputs, [TensorSpec("probabilities", "float32", [3])], "classes", CLASSES.labels)
    (raw,) = answer(load_predictor(archive, signature=finished), rows(1).tolist())
    assert raw["confidence"] == pytest.approx(float(expected(1).max()), abs=1e-6)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (Signature([TensorSpec("y", "float32", [16])]), r"inputs must be \['x'\], found \['y'\]"),
        (Signature([TensorSpec("x", "float64", [16])]), "must have dtype float32, found float64"),
        (Signature([TensorSpec("x", "float32", [4, 4])]), "must have 1 dimensions"),
        (Signature([TensorSpec("x", "float32", [15])]), "has shape"),
        (Signature(CLASSES.inputs, kind="classes", labels=["a", "b"]), "2 labels for a result of 3 numbers"),
    ],
)
def test_a_signature_that_contradicts_the_graph_is_refused(archive: Path, signature: Signature, message: str) -> None:
    with pytest.raises(StreaminferError, match=message) as refusal:
        load_predictor(archive, signature=signature)
    assert refusal.value.field == "signature"


@pytest.mark.parametrize("fixed", [1, 4])
def test_a_program_for_one_number_of_rows_is_filled_up(tmp_path: Path, fixed: int) -> None:
    path = export(seeded(Mlp), rows(fixed), path=tmp_path / "fixed.pt2", dynamic=False)
    predictor = load_predictor(path)
    assert predictor.info.max_batch_size == fixed
    assert torch.allclose(torch.tensor(answer(predictor, rows(6).tolist())), expected(6), atol=1e-6)


def test_a_program_with_a_bound_gets_no_more_rows(tmp_path: Path) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=4)},)
    program = torch.export.export(seeded(Mlp).eval(), (rows(3),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "bounded.pt2")
    predictor = load_predictor(tmp_path / "bounded.pt2")
    assert predictor.info.max_batch_size == 4
    assert torch.allclose(torch.tensor(answer(predictor, rows(9).tolist())), expected(9), atol=1e-6)


def test_rows_of_different_lengths_are_masked_where_there_is_a_mask(tmp_path: Path) -> None:
    module = seeded(Masked).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    example = (torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool))
    shapes = ({0: batch, 1: length}, {0: batch, 1: length})
    with torch.no_grad():
        torch.export.save(torch.export.export(module, example, dynamic_shapes=shapes), tmp_path / "masked.pt2")
    predictor = load_predictor(tmp_path / "masked.pt2", signature=Signature([TOKENS], kind="tensors"))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 41, (64,), generator=generator).tolist()
    asked = [torch.randint(0, 50, (size,), generator=generator).tolist() for size in lengths]
    with torch.no_grad():
        alone = torch.cat([module(torch.tensor([row]), torch.ones(1, len(row)).bool()) for row in asked])
    for size in (1, 2, 3, 17, 64):
        assert torch.allclose(torch.tensor(company(predictor, asked[:size])), alone[:size], atol=1e-5), size
    assert "row 0 of inputs" in refused(predictor, [[50]])


def test_without_a_mask_only_rows_of_one_length_are_computed_together(tmp_path: Path) -> None:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    program = torch.export.export(Unmasked(), (torch.ones(2, 5),), dynamic_shapes=({0: batch, 1: length},))
    torch.export.save(program, tmp_path / "unmasked.pt2")
    found = answer(load_predictor(tmp_path / "unmasked.pt2"), [[1, 2, 3], [4], [2, 2, 5]])
    assert found == [
        {"squares": [1, 4, 9], "mean": 2},
        {"squares": [16], "mean": 4},
        {"squares": [4, 4, 25], "mean": 3},
    ]


def test_it_has_its_own_types_and_no_arguments(archive: Path) -> None:
    with pytest.raises(StreaminferError, match="dtype must be auto"):
        load_predictor(archive, dtype="bfloat16")
    with pytest.raises(StreaminferError, match="arguments are for a module:function only"):
        load_predictor(archive, arguments={"a": 1})


# Archives that nobody should trust.


class Evil:
    """What makes a file as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def pickled(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Evil(path), buffer)
    return buffer.getvalue()


def test_sample_inputs_are_never_unpickled(archive: Path, tmp_path: Path) -> None:
    victim = tmp_path / "made"
    rewrite(archive, lambda members: members.update({"data/sample_inputs/model.pt": pickled(victim)}))
    assert torch.allclose(torch.tensor(answer(load_predictor(archive), rows(1).tolist())), expected(1), atol=1e-6)
    assert not victim.exists()


def config(member: str, change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def edit(members: dict[str, bytes]) -> None:
        values = json.loads(members[member])
        change(values["config"])
        members[member] = json.dumps(values).encode()

    return edit


WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (config(WEIGHTS, lambda each: each["first.weight"].update(use_pickle=True)), "as pickles"),
        (config(CONSTANTS, lambda each: each["scale"].update(use_pickle=True)), "as pickles"),
        (config(CONSTANTS, lambda each: each["scale"].update(path_name="custom_obj_0")), "no member|custom class"),
        (config(CONSTANTS, lambda each: each["scale"].update(path_name="../../x")), "a name that is none"),
        (config(WEIGHTS, lambda each: each["first.weight"].update(path_name="../x")), "a name that is none"),
        (config(WEIGHTS, lambda each: each["first.weight"]["tensor_meta"].update(sizes=[{"as_int": 10**9}])), "fit"),
        (config(WEIGHTS, lambda each: each["first.weight"]["tensor_meta"].update(sizes=[{"as_expr": 1}])), "fit"),
        (config(WEIGHTS, lambda each: each["first.weight"]["tensor_meta"].update(dtype=99)), "dtype"),
        (lambda members: members.update({"data/aotinductor/model/x.so": b"x"}), "compiled library"),
        (lambda members: members.update({"models/other.json": b"{}"}), "must hold one program"),
        (lambda members: members.pop("models/model.json") and None, "must hold one program"),
        (lambda members: members.update({"models/model.json": b"["}), "cannot be read as JSON"),
        (lambda members: members.update({"models/model.json": b"[]"}), "must hold a JSON object"),
        (lambda members: members.update({"models/model.json": b"{}"}), "torch.export cannot load"),
        (lambda members: members.update({"../outside": b"x"}), "leads out of the archive"),
        (lambda members: members.update({"x\\..\\y": b"x"}), "leads out of the archive"),
        (lambda members: members.update({WEIGHTS: b"{}"}), "cannot be read"),
        (lambda members: members.pop(WEIGHTS) and None, "no member"),
    ],
)
def test_members_that_could_do_harm_are_refused(
    archive: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    rewrite(archive, change)
    with pytest.raises(StreaminferError, match=message):
        load_predictor(archive)


def node(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda graph: graph["graph_module"]["graph"]["nodes"][0].update(changes)


def tree(kind: str, context: str) -> Callable[[dict[str, Any]], None]:
    spec = json.dumps([1, {"type": kind, "context": context, "children_spec": []}])

    def change(graph: dict[str, Any]) -> None:
        graph["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec

    return change


def size(text: str) -> Callable[[dict[str, Any]], None]:
    def change(graph: dict[str, Any]) -> None:
        values = graph["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (node(target="torch.os.system"), "is not among the operators"),
        (node(target="torch.hub.load"), "is not among the operators"),
        (node(target="torch.ops.aten.from_file.default"), "is not among the operators"),
        (node(target="torch.ops.aten._unknown.default"), "is not among the operators"),
        (node(target="_operator.methodcaller"), "is not among the operators"),
        (node(target="#x:y"), "is not among the operators"),
        (node(name="x):\n    import os"), "a name that is none"),
        (tree("collections.defaultdict", '{"default_factory_module": "os"}'), "only tuples, lists and dicts"),
        (tree("builtins.dict", '[{"__enum__": true, "fqn": "os:x", "name": "y"}]'), "keys that are no texts"),
        (size("__import__('os').getpid()"), "no plain arithmetic"),
        (size("Symbol('s77', positive=print('x'))"), "no plain arithmetic"),
        (size("9**9**9"), "no plain arithmetic"),
        (size("Pow(Integer(9), Pow(Integer(9), Integer(9)))"), "no plain arithmetic"),
        (size("(1).__class__"), "no plain arithmetic"),
        (size("(" * 5000), "no plain arithmetic"),
        (lambda graph: graph["graph_module"]["graph"].update(custom_obj_values={"x": {}}), "custom classes"),
    ],
)
def test_a_graph_that_could_run_code_is_refused(
    archive: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(StreaminferError, match=message):
        load_predictor(edit_graph(archive, change))


def test_what_is_dropped_is_not_looked_at(archive: Path) -> None:
    edit_graph(archive, node(metadata={"stack_trace": "__import__('os')"}))
    edit_graph(archive, lambda graph: graph.update(guards_code=["__import__('os').abort()"]))
    assert answer(load_predictor(archive), rows(1).tolist())


@pytest.mark.parametrize("length", [0, 10, 1000, -1])
def test_a_truncated_archive_is_refused(archive: Path, length: int) -> None:
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(StreaminferError, match="truncated"):
        load_predictor(archive)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/models/model.json", b"[" * 10**7)
    with pytest.raises(StreaminferError, match="would unpack to 10000000 bytes"):
        load_predictor(path)


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("archive/models/model.json")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(StreaminferError, match="leads out of the archive"):
        load_predictor(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = seeded(Mlp)
    with torch.no_grad():
        module.first.weight[0, 0] = torch.nan
    with pytest.raises(StreaminferError, match=r"first.weight holds NaN"):
        load_predictor(export(module, rows(2), path=tmp_path / "nan.pt2"))


def test_a_pickle_under_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(StreaminferError, match="cannot be read as an archive"):
        load_predictor(path)


class Branching(nn.Module):
    """What modules of today export: an attention call, gradients switched off inside, sizes that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scale = x.abs().amax(-1, keepdim=True)
        states = self.query(x / scale).view(x.shape[0], 2, 2, 4)
        mixed = nn.functional.scaled_dot_product_attention(states, states, states)
        return nn.functional.gelu(mixed.reshape(mixed.shape[0], mixed.shape[1] * 8))


def test_ordinary_modules_pass_the_checks(tmp_path: Path) -> None:
    module = seeded(Branching)
    predictor = load_predictor(export(module, rows(3), path=tmp_path / "branching.pt2"))
    with torch.no_grad():
        found = torch.tensor(answer(predictor, rows(5).tolist()))
        assert torch.allclose(found, module(rows(5)), atol=1e-5)
