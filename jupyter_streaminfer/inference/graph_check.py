"""The graph in an archive of ``torch.export``, held to what cannot run code.

torch turns such a file back into a program by ways that trust it: operators are looked up by attribute path, so any
function below ``torch`` can be called; expressions of sizes are evaluated by sympy, so by Python; names become lines of
Python that are compiled; trees may import a module. Here every text in the file has to be of a form that can do none of
this, and what is for people only is dropped, before torch sees it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.size_check import checked_size

_TEXT = re.compile(r"[A-Za-z0-9_.+-]{0,512}")
"""No brackets, quotes, spaces or line ends: as a piece of Python this can at most name something."""
_FREE = {"as_string", "as_strings"}
"""Arguments of operators that are texts; they are written into Python as literals."""
_DROPPED: dict[str, Any] = {"metadata": {}, "guards_code": [], "treespec_namedtuple_fields": {}}
"""For people and for tracing again."""
_TREES = {"in_spec", "out_spec"}
_OPERATOR = re.compile(r"torch\.ops\.(aten\.(?P<aten>\w+)\.\w+|higher_order\.(?P<higher>\w+))")
_PRIVATE_ATEN = re.compile(
    r"_(to_copy|unsafe_view|unsafe_index|softmax|log_softmax|safe_softmax|native_batch_norm_legit\w*|assert_\w+"
    r"|scaled_dot_product_\w+|weight_norm\w*|adaptive_avg_pool2d|embedding_bag\w*|native_multi_head_attention"
    r"|transformer_encoder_layer_fwd|grouped_mm|fft_\w+|reshape_alias|local_scalar_dense|conj|trilinear|euclidean_dist)"
)
_FORBIDDEN_ATEN = {"from_file", "save", "set_", "set_data", "resize_", "resize_as_", "data_ptr"}
"""They open files, or memory that is not theirs."""
_HIGHER_ORDER = {"wrap_with_set_grad_enabled", "wrap_with_autocast", "cond"}
_FUNCTIONS = {
    *(
        f"_operator.{name}"
        for name in ("getitem", "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub")
    ),
    *(f"_operator.{name}" for name in ("floordiv", "mod", "truediv", "and_", "or_")),
    *(f"math.{name}" for name in ("trunc", "ceil", "floor")),
    *(f"torch.sym_{name}" for name in ("int", "float", "ite", "max", "min", "not", "sqrt", "sum")),
}
_TREE_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def checked_graph(text: bytes, member: str) -> bytes:
    """The JSON of a graph without what is not needed; `StreaminferError` where it holds what could run code."""
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refuse(f"{member} in the archive cannot be read as JSON: {error}") from None
    if not isinstance(graph, dict):
        raise refuse(f"{member} in the archive must hold a JSON object, found {type(graph).__name__}")
    try:
        return json.dumps(_checked("", graph)).encode()
    except RecursionError:
        raise refuse(f"{member} in the archive is nested too deep") from None


def checked_config(text: bytes, member: str) -> dict[str, dict[str, Any]]:
    """The JSON that says which tensor is in which member of the archive, by the tensors' names."""
    try:
        config = json.loads(text)["config"]
        entries = dict(config.items())
        plain = all(isinstance(entry, dict) and not entry["use_pickle"] for entry in entries.values())
        tensors = all(isinstance(entry.get("tensor_meta"), dict) for entry in entries.values())
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        raise refuse(f"{member} in the archive cannot be read") from None
    if not plain or not tensors:
        raise refuse(
            f"{member}: the archive holds tensors or objects as pickles, which can run code as they are read. Export"
            " the model again with plain tensors as its parameters, buffers and constants"
        )
    found: dict[str, dict[str, Any]] = _checked("", entries)
    return found


def _checked(key: str, value: Any) -> Any:
    """A part of the graph, which stands under ``key``."""
    if key in _DROPPED:
        return _DROPPED[key]
    if key == "custom_obj_values" and value:
        raise refuse("the archive's graph uses objects of custom classes, which are not supported")
    if isinstance(value, dict):
        return {_name(name): _checked(name, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_checked(key, part) for part in value]
    if not isinstance(value, str) or key in _FREE:
        return value
    if key in _TREES:
        return _tree(value)
    if key == "expr_str":
        return checked_size(value)
    if key in ("target", "as_operator"):
        return _operator(value)
    return _name(value)


def _name(value: str) -> str:
    if _TEXT.fullmatch(value) is None:
        raise refuse(f"the archive's graph has a name that is none: {value!r:.80}")
    return value


def _operator(value: str) -> str:
    """The path of an operator that computes, and does nothing else."""
    found = _OPERATOR.fullmatch(value)
    if found is None:
        allowed = value in _FUNCTIONS
    elif (aten := found["aten"]) is None:
        allowed = found["higher"] in _HIGHER_ORDER
    else:
        private = aten.startswith("_") and not aten.startswith("__")
        allowed = aten not in _FORBIDDEN_ATEN and (not private or _PRIVATE_ATEN.fullmatch(aten) is not None)
    if not allowed:
        raise refuse(
            f"the archive's graph calls {value!r:.80}, which is not among the operators that may be loaded: those of"
            " torch.ops.aten that only compute"
        )
    return value


def _tree(value: str) -> str:
    """How arguments or results are nested: tuples, lists and dicts only."""
    if not value:
        return value
    try:
        _, tree = json.loads(value)
        parts = [tree]
        while parts:
            part = parts.pop()
            if part["type"] not in _TREE_TYPES:
                raise refuse(
                    f"the archive's arguments or results are nested in a {part['type']!r:.80}; only tuples, lists and"
                    " dicts can be loaded: wrap the module in one whose forward takes and gives these, and export that"
                )
            context = part["context"]
            keys = json.loads(context) if isinstance(context, str) else context
            if keys is not None and not (isinstance(keys, list) and all(isinstance(each, str) for each in keys)):
                raise refuse(f"the archive's arguments or results have keys that are no texts: {keys!r:.80}")
            for each in keys or []:
                _name(each)
            parts += part["children_spec"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise refuse("the archive's tree of arguments or results cannot be read") from None
    return value
