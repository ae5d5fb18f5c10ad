"""scikit-learn through skops: signatures off the fitted estimator, and nothing that is not trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from jupyter_streaminfer.protocol import Signature, StreaminferError, TensorSpec

from .encoders import answer, load_predictor, refused

random = np.random.default_rng(0)
X = random.normal(size=(60, 4))
KINDS = np.array(["low", "high"])[(X[:, 0] > 0).astype(int)]
NUMBERS = X @ [1.0, 2.0, 3.0, 4.0]


def saved(estimator: Any, folder: Path) -> Path:
    skops.io.dump(estimator, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), make_pipeline(StandardScaler(), RandomForestClassifier(5))]
)
def test_a_classifier(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(X, KINDS)
    predictor = load_predictor(saved(estimator, tmp_path), skops_trusted=["sklearn.tree._tree.Tree"])
    predictor.warm_up()
    found = answer(predictor, X[:5].tolist())
    assert [each["label"] for each in found] == estimator.predict(X[:5]).tolist()
    assert [each["confidence"] for each in found] == pytest.approx(estimator.predict_proba(X[:5]).max(1).tolist())
    assert predictor.info.labels == ["high", "low"]
    assert predictor.info.runner == "scikit-learn"
    assert "row 0 of inputs" in refused(predictor, [[1, 2, 3]])


def test_a_regressor_with_named_features(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    estimator = LinearRegression().fit(frame, NUMBERS)
    predictor = load_predictor(saved(estimator, tmp_path))
    predictor.warm_up()
    assert predictor.info.signature is not None
    assert [spec.name for spec in predictor.info.signature.inputs] == ["a", "b", "c", "d"]
    columns = {name: frame[name][:3].tolist() for name in "dbca"}
    assert answer(predictor, columns) == pytest.approx(NUMBERS[:3].tolist())


def test_a_classifier_without_confidences_gives_classes(tmp_path: Path) -> None:
    estimator = LinearSVC().fit(X, KINDS)
    assert answer(load_predictor(saved(estimator, tmp_path)), X[:5].tolist()) == estimator.predict(X[:5]).tolist()


def test_a_transformer_gives_tensors(tmp_path: Path) -> None:
    estimator = PCA(2).fit(X)
    found = answer(load_predictor(saved(estimator, tmp_path)), X[:5].tolist())
    assert np.allclose(found, estimator.transform(X[:5]))


def double(values: np.ndarray) -> np.ndarray:
    return values * 2


def test_types_that_are_not_trusted_are_named(tmp_path: Path) -> None:
    estimator = make_pipeline(FunctionTransformer(double), LinearRegression()).fit(X, NUMBERS)
    path = saved(estimator, tmp_path)
    with pytest.raises(StreaminferError, match=r"test_sklearn_model.double.*c.StreaminferApp.skops_trusted"):
        load_predictor(path)
    given = Signature([TensorSpec("inputs", "float64", [4])], kind="tensors")
    predictor = load_predictor(path, skops_trusted=[f"{__name__}.double"], signature=given)
    assert answer(predictor, X[:3].tolist()) == pytest.approx(NUMBERS[:3].tolist())


def test_an_estimator_that_says_nothing_needs_a_signature(tmp_path: Path) -> None:
    with pytest.raises(StreaminferError, match="n_features_in_") as refusal:
        load_predictor(saved(LinearRegression(), tmp_path))
    assert refusal.value.field == "signature"


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = saved(LinearRegression().fit(X, NUMBERS), tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StreaminferError, match="truncated"):
        load_predictor(path)


def test_a_member_that_leads_out_and_a_bomb_are_refused(tmp_path: Path) -> None:
    path = saved(LinearRegression().fit(X, NUMBERS), tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(StreaminferError, match="leads out of the archive"):
        load_predictor(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("schema.json", b"[" * 10**8)
    with pytest.raises(StreaminferError, match="would unpack to"):
        load_predictor(path)
