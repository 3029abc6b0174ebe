"""Success rates as dots on their 95% intervals, in the colours of the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

PAPER, INK, SOFT, GRID = "#fcfcfa", "#16181d", "#5a606b", "#e3e4e1"
POLICY, BASELINE = "#0f62c4", "#b4610a"
ROW_INCHES, PANEL_INCHES, NAMES_INCHES = 0.34, 2.05, 1.9


def draw_rates(
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]],
    path: str,
    *,
    baselines: Collection[str] = (),
    chance: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Draw a row for each policy and a panel for each task.

    Args:
        rows: policy to task to its `success` and `ci95`, from 0 to 1.
        path: PNG file to write.
        baselines: policies that others are compared with, drawn as the report draws its baselines.
        chance: task to the success of guessing, a dashed line.
    """
    from matplotlib import pyplot as plt

    tasks = list(next(iter(rows.values())))
    size = (NAMES_INCHES + PANEL_INCHES * len(tasks), 1.0 + ROW_INCHES * len(rows))
    figure, panels = plt.subplots(1, len(tasks), figsize=size, sharey=True, layout="constrained", squeeze=False)
    figure.set_facecolor(PAPER)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    for task, panel in zip(tasks, panels[0], strict=True):
        for place, (name, rates) in enumerate(rows.items()):
            low, high = (100 * end for end in rates[task]["ci95"])
            color, shape, face = (BASELINE, "D", PAPER) if name in baselines else (POLICY, "o", POLICY)
            panel.hlines(place, low, high, color, linewidth=4, alpha=0.3)
            mark = {"color": color, "markerfacecolor": face, "markersize": 7, "clip_on": False}
            panel.plot(100 * rates[task]["success"], place, shape, **mark)
        if task in chance:
            panel.axvline(100 * chance[task], color=SOFT, linestyle="--", linewidth=1)
        panel.set_title(task.removesuffix("-v3"), fontsize=10, color=INK, loc="left", fontweight="bold")
        panel.set(xlim=(-3, 103), ylim=(len(rows) - 0.4, -0.6), facecolor=PAPER)
        panel.set_xticks((0, 25, 50, 75, 100), ("0%", "", "50%", "", "100%"))
        panel.set_yticks(range(len(rows)), list(rows))
        panel.tick_params(length=0, labelsize=9, labelcolor=SOFT)
        panel.grid(axis="x", color=GRID)
        panel.set_axisbelow(True)
        panel.spines[:].set_visible(False)
    panels[0][0].tick_params(axis="y", labelcolor=INK, labelsize=10)
    figure.savefig(path, dpi=130, facecolor=PAPER)
