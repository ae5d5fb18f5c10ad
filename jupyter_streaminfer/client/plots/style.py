"""How all plots look: told apart in any colour vision, and in grey print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Okabe and Ito's, which people with any colour vision tell apart; without yellow, which is faint on white."""
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
MAX_SERIES = len(COLOURS)
"""More than these nobody tells apart."""
LABEL_CHARACTERS = 40


def series(number: int) -> dict[str, Any]:
    """Colour and dashes of one of several lines."""
    place = number % MAX_SERIES
    return {"color": COLOURS[place], "linestyle": DASHES[place]}


def label(text: object) -> str:
    """A name as a legend shows it: of a bounded length, on one line, and not as mathematics or as a hidden entry."""
    name = " ".join(str(text).split())
    name = name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"
    # A legend leaves out what begins with an underscore.
    return "\u200b" + name.replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")


def new_figure(rows: int, columns: int, *, width: float = 7.0, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure, and its axes as `matplotlib.pyplot.subplots` has them; width and height in inches."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    # Closed for pyplot only, or a notebook would show the figure twice.
    plt.close(figure)
    for each in figure.axes:
        each.grid(True, color="0.9", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def nothing(axes: Axes, text: str) -> None:
    """Say on axes that have nothing to show why."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.35")
