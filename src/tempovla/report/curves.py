"""Learning curves: one panel a loss term, all runs of a phase in it."""

from __future__ import annotations

import math

from tempovla.report.chart import Series, curve_panel, number
from tempovla.report.markup import Markup, element
from tempovla.report.run import Curve

DIAGNOSTICS = ("lr", "grad_norm", "samples_per_s", "cpu_s")
VALIDATION_PREFIX = "val_"
PREDICTION_ERROR = "jepa_mse"
PERSISTENCE = "persistence"


def curves_section(curves: list[Curve]) -> Markup:
    """The curves of every phase; says so where there are none."""
    heading = element("h2", "Learning curves")
    curves = [curve for curve in curves if curve.metrics]
    if not curves:
        words = "No learning curves: the run holds no metrics.jsonl with lines in it (an evaluation alone writes none)."
        return element("section", heading, element("p", words, class_="missing"))
    curves.sort(key=_is_blind)
    phases = sorted({curve.phase for curve in curves})
    intro = element(
        "p",
        "Thin and faint is every logged value, strong is its running mean; an axis turns logarithmic where its values "
        "span more than a factor of thirty.",
        class_="note",
    )
    blocks = [_phase(phase, [curve for curve in curves if curve.phase == phase]) for phase in phases]
    return element("section", heading, intro, *blocks, class_="learning")


def panel_series(curves: list[Curve], name: str) -> list[Series]:
    """What the panel of one metric shows: the runs, their validation, and beside the prediction error the persistence
    baseline (the error of predicting that nothing changes).
    """
    series = []
    for curve in curves:
        style = "blind" if _is_blind(curve) else "policy"
        run = curve.run or "training"
        if name in curve.metrics:
            series.append(Series(style, run, curve.metrics[name]))
        if (validation := VALIDATION_PREFIX + name) in curve.metrics:
            series.append(Series(f"{style} dashed", f"{run}, validation", curve.metrics[validation]))
        if name == PREDICTION_ERROR:
            for key in filter(_is_persistence, curve.metrics):
                label = "nothing changes" if style == "policy" else f"nothing changes, {run}"
                series.append(Series(f"persistence {style}", label, curve.metrics[key]))
    return series


def panel_names(curves: list[Curve]) -> list[str]:
    """The metrics that get a panel, in the order in which they were first logged, the total first."""
    names = list(dict.fromkeys(name.removeprefix(VALIDATION_PREFIX) for curve in curves for name in curve.metrics))
    if PREDICTION_ERROR in names:
        names = [name for name in names if not _is_persistence(name)]
    return sorted(names, key=lambda name: name != "total")


def _is_blind(curve: Curve) -> bool:
    return "blind" in curve.run


def _is_persistence(name: str) -> bool:
    return PERSISTENCE in name


def _phase(phase: str, curves: list[Curve]) -> Markup:
    names = panel_names(curves)
    losses = [_panel(name, curves) for name in names if name not in DIAGNOSTICS]
    diagnostics = [_panel(name, curves) for name in names if name in DIAGNOSTICS]
    folded = None
    if diagnostics:
        summary = element("summary", "Learning rate, gradient norm, throughput, CPU time")
        folded = element("details", summary, element("div", *diagnostics, class_="panels"))
    styles = {series.label: series.style for name in names for series in panel_series(curves, name)}
    keys = [element("span", element("i", class_=f"swatch line {style}"), label) for label, style in styles.items()]
    return element(
        "div",
        element("h3", phase),
        element("p", *keys, class_="legend"),
        element("div", *losses, class_="panels"),
        folded,
        class_="phase",
    )


def _panel(name: str, curves: list[Curve]) -> Markup:
    series = panel_series(curves, name)
    solid = [line for line in series if "dashed" not in line.style]
    last = [element("span", number(line.points[-1][1]), class_=line.style) for line in solid]
    values = element("span", *last, class_="last", title="last logged values")
    broken = next((line for line in series if any(not math.isfinite(value) for _, value in line.points)), None)
    warning = None
    if broken is not None:
        step = next(step for step, value in broken.points if not math.isfinite(value))
        warning = element("p", f"{broken.label}: not a finite number at step {step:,}", class_="warning")
    caption = element("figcaption", element("code", name), values)
    return element("figure", caption, curve_panel(name, series), warning, class_="panel")
