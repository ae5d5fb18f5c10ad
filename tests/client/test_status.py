from jupyter_streaminfer.client import ModelTable, RouteReport
from jupyter_streaminfer.protocol import Arm, ArmStatus, Interval, ModelStatus, Route, RouteStatus, ShadowStatus

MODEL = ModelStatus(name="<digits>", version="2", state="ready", path="digits", placement="thread", memory_bytes=2**20)
ROUTE = RouteStatus(
    Route([Arm("1", 0.9), Arm("2", 0.1)]),
    [
        ArmStatus(
            "1",
            0.9,
            "arm",
            requests=90,
            errors=9,
            share=Interval(0.9, 0.82, 0.94),
            error_rate=Interval(0.1, 0.05, 0.18),
            latency_ms=Interval(2.0, 1.5, 2.5),
        ),
        ArmStatus("2", 0.1, "arm", requests=0, errors=0),
    ],
    ShadowStatus("3", 50, Interval(0.98, 0.9, 1.0), 0.25),
    rolled_back="errors <5%",
    waiting=["2"],
)


def test_models_are_a_table() -> None:
    models = ModelTable([MODEL])
    assert models[0] is MODEL
    frame = models.to_frame()
    assert frame.loc[0, "memory_mib"] == 1.0
    html = models._repr_html_()
    assert "&lt;digits&gt;" in html
    assert "<digits>" not in html
    assert ModelTable([]).to_frame().empty


def test_a_route_has_text_table_and_frame() -> None:
    report = RouteReport.of(ROUTE)
    assert report.arms == ROUTE.arms
    assert repr(report).splitlines()[:3] == [
        "<Route: 2 versions>",
        "1: weight 90%, requests 90, share 90.0% (82.0% to 94.0%), errors 10.0% (5.0% to 18.0%), "
        "latency 2.0 (1.5 to 2.5) ms",
        "2: weight 10%, requests 0",
    ]
    assert "Shadow 3: 50 rows compared, 98.0%" in repr(report)
    assert "Not ready" in repr(report)
    assert "errors &lt;5%" in report._repr_html_()
    frame = report.to_frame()
    assert frame["requests"].tolist() == [90, 0]
    assert frame.loc[0, "error_rate_high"] == 0.18
    assert frame.loc[1, ["share", "latency_ms", "latency_p50_ms"]].isna().all()


def test_no_route() -> None:
    empty = RouteReport.of(RouteStatus(Route([Arm("1", 1.0)]), []))
    assert repr(empty) == "<Route: no split>"
    assert empty.to_frame().empty
