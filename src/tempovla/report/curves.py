"""Learning curves: one panel a loss term, all runs of a phase in it."""

from __future__ import annotations

from tempovla.report.chart import Series, curve_panel, number
from tempovla.report.markup import Markup, element
from tempovla.report.run import Curve

DIAGNOSTICS = ("lr", "grad_norm", "samples_per_s")
DIAGNOSTICS_TITLE = "Learning rate, gradient norm, throughput"
PREDICTION_ERRORS = {"jepa_mse": "jepa_persistence", "debug/sagr/mse_dyn": "debug/sagr/persistence"}
"""Errors of a prediction, and of predicting that nothing changes, which they have to beat. Names of the same ending, as
those of several horizons have, belong together."""
DETAILS = "debug/"
"""What names of figures begin with that are drawn in groups that are closed at first."""


def curves_section(curves: list[Curve]) -> Markup:
    """Return the curves of every phase, or a note that there are none."""
    heading = element("h2", "Learning curves")
    if not curves:
        words = (
            "No learning curves: the run holds no metrics.jsonl with lines in it (an evaluation alone writes none; "
            "--curves names the folder of a training run)."
        )
        return element("section", heading, element("p", words, class_="missing"))
    intro = element(
        "p",
        "The faint line shows every logged value, and the strong line their running mean. An axis is logarithmic if "
        "its values span more than a factor of thirty.",
        class_="note",
    )
    phases = dict.fromkeys(curve.phase for curve in curves)
    blocks = [_phase(phase, [curve for curve in curves if curve.phase == phase]) for phase in phases]
    return element("section", heading, intro, *blocks, class_="learning")


def panel_series(curves: list[Curve], name: str) -> list[Series]:
    """Return the lines in the panel of one figure: every run and its validation, and with the prediction error the
    baseline of persistence; the policy first.
    """
    series = []
    for curve in sorted(curves, key=lambda curve: (_style(curve) != "policy", curve.run, curve.split)):
        style, label = _style(curve), curve.run
        if curve.split != "train":
            style, label = f"{style} dashed", f"{curve.run}, {curve.split}"
        if name in curve.figures:
            series.append(Series(style, label, curve.figures[name]))
        still = persistence_of(name)
        if still in curve.figures and curve.split == "train":
            series.append(Series(f"{style} persistence", f"nothing changes, {label}", curve.figures[still]))
    return series


def panel_names(curves: list[Curve]) -> list[str]:
    """Return the figures that get a panel, the total first, then in the order in which they were logged."""
    names = dict.fromkeys(name for curve in curves for name in curve.figures)
    for name in list(names):
        names.pop(persistence_of(name) or "", None)
    return sorted(names, key=lambda name: name != "total")


def persistence_of(name: str) -> str | None:
    """Return the figure of predicting that nothing changes, for an error of a prediction; None for other figures."""
    for error, still in PREDICTION_ERRORS.items():
        if name == error or name.startswith(f"{error}_"):
            return still + name.removeprefix(error)
    return None


def _style(curve: Curve) -> str:
    return "blind" if "blind" in curve.run else "policy"


def _phase(phase: str, curves: list[Curve]) -> Markup:
    panels = {name: panel_series(curves, name) for name in panel_names(curves)}
    losses: list[Markup] = []
    folded: dict[str, list[Markup]] = {DIAGNOSTICS_TITLE: []}
    for name, series in panels.items():
        panel = _panel(name, series)
        if name in DIAGNOSTICS:
            folded[DIAGNOSTICS_TITLE].append(panel)
        elif name.startswith(DETAILS) and persistence_of(name) is None:
            folded.setdefault(f"{name.rpartition('/')[0]}/*", []).append(panel)
        else:
            losses.append(panel)
    closed = [
        element("details", element("summary", title), element("div", *group, class_="panels"))
        for title, group in folded.items()
        if group
    ]
    styles = {line.label: line.style for series in panels.values() for line in series}
    keys = [element("span", element("i", class_=f"swatch line {style}"), label) for label, style in styles.items()]
    return element(
        "div",
        element("h3", phase),
        element("p", *keys, class_="legend"),
        element("div", *losses, class_="panels"),
        *closed,
        class_="phase",
    )


def _panel(name: str, series: list[Series]) -> Markup:
    last = [
        element("span", number(line.points[-1][1]), class_=line.style, title=f"{line.label}, last logged")
        for line in series
        if line.style in ("policy", "blind", "policy persistence")
    ]
    caption = element("figcaption", element("code", name), element("span", *last, class_="last"))
    return element("figure", caption, curve_panel(name, series), class_="panel")
