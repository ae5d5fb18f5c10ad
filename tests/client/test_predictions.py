import numpy as np

from jupyter_streaminfer.client import Predictions
from jupyter_streaminfer.protocol import Prediction, Result, Scored, encode_inputs


def make(rows: int) -> Predictions:
    scores = [Scored("<b>", 0.75), Scored("a", 0.25)]
    return Predictions(
        Result("r", "shapes", "1", encode_inputs([Prediction("<b>", 0.75, scores) for _ in range(rows)]))
    )


def test_it_is_a_sequence() -> None:
    predictions = make(3)
    assert len(predictions) == 3
    assert predictions[0].label == "<b>"
    assert predictions[1:] == list(predictions)[1:]
    assert predictions.labels == ["<b>"] * 3
    assert predictions.confidences.dtype == np.float64
    assert predictions.confidences.tolist() == [0.75] * 3


def test_the_frame_has_a_column_for_every_class() -> None:
    frame = make(2).to_frame()
    assert list(frame.columns) == ["label", "confidence", "<b>", "a"]
    assert frame["a"].tolist() == [0.25, 0.25]


def test_the_text() -> None:
    assert repr(make(1)) == "<Predictions of shapes: 1 row>\n0: <b> (75%)"
    assert repr(make(12)).splitlines()[-1] == "and 2 more"
    assert len(repr(make(12)).splitlines()) == 12


def test_labels_are_text_and_not_markup() -> None:
    html = make(2)._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "2 rows" in html
