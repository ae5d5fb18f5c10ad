"""Estimators of scikit-learn, out of ``.skops`` files: no pickles."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.module_model import PROBABILITIES, ModuleModel
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.zip_members import checked_members
from jupyter_streaminfer.protocol import Signature, TensorSpec

MAX_RATIO = 1000
"""How much larger than the file its members may be: they may be compressed, and trees compress well."""
MAX_BYTES = 16 * 2**30


def load_sklearn(source: Source) -> ModuleModel:
    """The estimator in a file; `StreaminferError` where it holds types that are not trusted."""
    source.keep_type()
    source.keep_arguments()
    estimator = _read(source)
    source.progress("preparing")
    signature = source.signature or _signature(estimator)
    compute = _Estimator(estimator, signature)
    return ModuleModel(
        compute,
        [spec.name for spec in signature.inputs],
        signature,
        torch.device("cpu"),
        architecture=type(estimator).__name__,
        runner="scikit-learn",
    )


def _read(source: Source) -> Any:
    path = source.path
    try:
        skops = importlib.import_module("skops.io")
    except ImportError as error:
        raise refuse(
            f"{path.name} needs skops and scikit-learn, which cannot be imported ({error}): install them with"
            " pip install jupyter_streaminfer[sklearn]"
        ) from error
    source.progress("reading", 0, path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            checked_members(archive, path, MAX_RATIO, MAX_BYTES)
        others = sorted(set(skops.get_untrusted_types(file=path)) - set(source.skops_trusted))
    except (zipfile.BadZipFile, LookupError, ValueError, TypeError, OSError) as error:
        raise refuse(f"{path.name} cannot be read as a file of skops (truncated?): {error}") from error
    if others:
        raise refuse(
            f"{path.name} makes objects of types that skops does not trust: {', '.join(others):.500}. What these do as"
            " they are made, the file can have done. If you trust it, add them to skops_trusted (the server's"
            " c.StreaminferApp.skops_trusted)"
        )
    try:
        return skops.load(path, trusted=list(source.skops_trusted))
    except Exception as error:  # whatever the types of the file make of what it says
        raise refuse(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error


def _signature(estimator: Any) -> Signature:
    """What an estimator takes and gives, by the attributes that fitting gave it."""
    count = getattr(estimator, "n_features_in_", None)
    names = getattr(estimator, "feature_names_in_", None)
    if type(count) is not int or count < 1:
        raise refuse(
            f"the {type(estimator).__name__} does not say how many features it takes (n_features_in_): give a signature"
            " with the load, or fit it",
            "signature",
        )
    if names is None:
        inputs = [TensorSpec("inputs", "float64", [count])]
    else:
        inputs = [TensorSpec(str(name), "float64") for name in names]
    classes = getattr(estimator, "classes_", None)
    if hasattr(estimator, "predict_proba") and isinstance(classes, np.ndarray) and classes.ndim == 1:
        labels = [str(each) for each in classes.tolist()]
        return Signature(inputs, [TensorSpec(PROBABILITIES, "float64", [len(labels)])], "classes", labels)
    if classes is None and importlib.import_module("sklearn.base").is_regressor(estimator):
        return Signature(inputs, kind="tensors")
    return Signature(inputs, kind="tensors" if not hasattr(estimator, "predict") else "values")


class _Estimator:
    """An estimator as a function of columns."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._named = getattr(estimator, "feature_names_in_", None) is not None
        self._names = [spec.name for spec in signature.inputs]
        methods = ("predict_proba",) if signature.kind == "classes" else ("predict", "transform")
        found = [getattr(estimator, name) for name in methods if hasattr(estimator, name)]
        if not found:
            raise refuse(f"the {type(estimator).__name__} has no method {' or '.join(methods)}")
        self._compute = found[0]

    def __call__(self, columns: Mapping[str, Any]) -> np.ndarray | list[Any]:
        arrays = {
            name: column.numpy() if isinstance(column := columns[name], torch.Tensor) else np.array(column, object)
            for name in self._names
        }
        output = self._compute(self._table(arrays))
        output = output.toarray() if hasattr(output, "toarray") else np.asarray(output)
        return output if output.dtype.kind in "fiub" else list(output.tolist())

    def _table(self, arrays: dict[str, np.ndarray]) -> Any:
        if not self._named:
            first = next(iter(arrays.values()))
            return first if len(arrays) == 1 and first.ndim == 2 else np.column_stack(list(arrays.values()))
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            return np.column_stack(list(arrays.values()))  # by their order, as fitted
        return pandas.DataFrame(arrays, copy=False)
