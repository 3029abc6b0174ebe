"""The headline of a run that was trained and not evaluated in a simulator, and what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tempovla.report.fields import Reader, load_json
from tempovla.report.format_text import demonstrations
from tempovla.report.markup import Markup, element
from tempovla.report.offline import Offline
from tempovla.report.predictions import Predictions, prediction_figure
from tempovla.report.run import Curve

TOTAL = "total"
CHECKPOINT = "checkpoint_latest/bundle.json"


@dataclass(frozen=True)
class Trained:
    """Facts from the newest checkpoint.

    Attributes:
        facts: of the run, by name, in words.
        versions: of the packages that trained it.
    """

    facts: Mapping[str, str]
    versions: Mapping[str, str]


def read_trained(run_dir: Path) -> Trained:
    """Return facts about the run from its newest checkpoint; empty without one.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    found = sorted(path for path in run_dir.glob(f"**/{CHECKPOINT}") if path.is_file())
    facts: dict[str, str] = {"folder": run_dir.resolve().name}
    if not found:
        return Trained(facts, {})
    data = Reader(found[-1], "", load_json(found[-1]))  # of phases, the last
    known = data.optional("provenance") or Reader(found[-1], "provenance", {})
    facts["policy"] = data.get("policy", str) or "unknown"
    for key, kind in (("dataset", str), ("episodes", int)):
        if (value := known.get(key, kind)) is not None:
            facts[key] = str(value)
    told = known.get("instructions", list)
    if told is not None:
        facts["instructions"] = str(len(told))
    versions = {name: text for name in ("tempovla", "torch") if (text := known.get(name, str)) is not None}
    return Trained(facts, versions)


def training_headline(
    run_dir: Path,
    curves: Sequence[Curve],
    offline: Offline | None,
    title: str | None,
    predictions: Predictions | None = None,
) -> Markup:
    """Return the title, one sentence about the page, and the figures that best show how far training has come."""
    name, predicts_alone = run_dir.resolve().name, offline is None and predictions is not None
    measured = (
        "how well its world model predicts" if predicts_alone else "how far its actions are from the demonstrated ones"
    )
    return element(
        "header",
        element("p", "TempoVLA", element("span", "run report"), class_="eyebrow"),
        element("h1", title or f"Training of {name}"),
        element(
            "p",
            f"One training run, without an evaluation in a simulator: how it learned, and {measured}. Whether it "
            "solves the task, only acting can show.",
            class_="lede",
        ),
        element("div", _figure(offline, predictions), *[_card(curve) for curve in _totals(curves)], class_="cards"),
    )


def _figure(offline: Offline | None, predictions: Predictions | None) -> Markup:
    if offline is None and predictions is not None:
        return prediction_figure(predictions)
    if offline is None or offline.relative is None:
        return element(
            "div",
            element("p", "\N{EN DASH}", class_="big"),
            element("p", "no offline evaluation", class_="scope"),
            class_="figure",
        )
    return element(
        "div",
        element("p", f"{offline.relative:.2f}", class_="big"),
        element("p", "of the squared error of always giving the mean action", class_="scope"),
        element("p", demonstrations(offline.episodes, held_out=offline.is_held_out), class_="certainty"),
        class_="figure",
    )


def _totals(curves: Sequence[Curve]) -> list[Curve]:
    """The last phase's curves of the total loss, validation first, for two cards at the most."""
    known = [curve for curve in curves if TOTAL in curve.figures]
    if not known:
        return []
    last = known[-1]
    chosen = [curve for curve in known if (curve.run, curve.phase) == (last.run, last.phase)]
    return sorted(chosen, key=lambda curve: curve.split != "validation")


def _card(curve: Curve) -> Markup:
    points = curve.figures[TOTAL]
    step, value = points[-1]
    lowest = min(value for _, value in points)
    return element(
        "div",
        element("p", f"Loss, {'held-out' if curve.split == 'validation' else 'training'}", class_="label"),
        element("p", f"{value:.4g}", class_="value"),
        element("p", f"step {step:,}, lowest {lowest:.4g}", class_="detail"),
        element("p", f"{curve.run}, {curve.phase}", class_="meaning"),
        class_="card",
    )
