"""The report: one self-contained HTML page about a run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from tempovla.report.baselines import file_of, unlike, with_baselines
from tempovla.report.chart import stage_bar
from tempovla.report.curves import curves_section
from tempovla.report.diagnosis import diagnosis_section
from tempovla.report.document import document, facts_column, write_page
from tempovla.report.fields import load_json
from tempovla.report.format_text import duration
from tempovla.report.markup import Markup, element, join
from tempovla.report.measured_tables import beside_table, measured_section
from tempovla.report.offline import FILE as OFFLINE_FILE
from tempovla.report.offline import offline_section, read_offline
from tempovla.report.open_loop import open_loop_section
from tempovla.report.prediction_videos import read_prediction_clips, size_of
from tempovla.report.predictions import predictions_section, read_predictions
from tempovla.report.results import BASELINES, headline, rates_section
from tempovla.report.returns import Returns, read_returns, returns_headline, returns_section
from tempovla.report.run import (
    BaselineName,
    Evaluation,
    Results,
    is_by_return,
    read_clips,
    read_curves,
    read_results,
    read_results_file,
    results_data,
)
from tempovla.report.training import read_trained, training_headline
from tempovla.report.videos import films_section
from tempovla.storage.said_by import said_by

PAGE_TITLE = "TempoVLA run report"
RESULTS = "results.json"
Compare = Callable[[Path, Path], Mapping[str, Any]]
"""Of the files of two evaluations, to what both measured of the same episodes."""


def write_report(
    run_dir: Path | str,
    out: Path | str,
    *,
    baselines: Mapping[BaselineName, Path] | None = None,
    curves: Sequence[Path] = (),
    title: str | None = None,
    compare: Compare | None = None,
) -> Path:
    """Write the report on RUN_DIR to `out`, replacing it in one step; returns `out`.

    Reads results.json, every metrics.jsonl, offline.json, diagnosis.json, and rollouts/index.json and
    predictions/index.json with their videos. A run that was not evaluated in a simulator has no results.json: its page
    shows curves, offline errors, predictions and the diagnosis.
    The page names missing parts in one line, and loads nothing from elsewhere.

    Args:
        run_dir: what the report is about.
        out: HTML file.
        baselines: other evaluations of the same tasks (a folder or a results.json) that are shown as baselines.
        curves: further folders below which there are metrics.jsonl.
        title: the heading, in place of that in results.json.
        compare: pairs the episodes of a baseline's results.json and the run's, such as
            `tempovla.recipe.evaluation.comparison.compare_figures`; by default what the simulator measured of baselines
            is not shown.

    Raises:
        ValueError: if there is nothing to report, baselines are given without a results.json, a file that is there is
            broken, a baseline is of other tasks or the run itself, or the
            run's score is the return, or a folder of curves has none; naming file, key and
            remedy.
    """
    folder = Path(run_dir)
    if is_training_alone(folder) and not baselines:
        return write_page(render_training(folder, curves, title), Path(out))
    results = _evaluation(folder, baselines or {})
    compared = {} if compare is None else _compared(folder, results, baselines or {}, compare)
    page = render(folder, results if title is None else replace(results, title=title), curves, compared)
    return write_page(page, Path(out))


def _evaluation(folder: Path, baselines: Mapping[BaselineName, Path]) -> Results | Returns:
    """What results.json holds, beside baselines where its score is success."""
    file = folder / RESULTS
    data = results_data(file)
    if not is_by_return(data):
        return with_baselines(read_results(folder), baselines, file)
    if baselines:
        raise ValueError(
            f"--{next(iter(baselines))}: {file} is scored by the return, beside which no baseline is shown"
        )
    return read_returns(data)


def _compared(
    folder: Path, results: Results | Returns, baselines: Mapping[BaselineName, Path], compare: Compare
) -> dict[BaselineName, Mapping[str, Any]]:
    """What was measured of the episodes that the policy and a baseline both played; nothing of other episodes."""
    files = {name: file_of(path) for name, path in baselines.items()}
    if isinstance(results, Returns):
        return {}
    alike = {name: file for name, file in files.items() if not unlike(results, name, read_results_file(file))}
    return {name: compare(file, folder / RESULTS) for name, file in alike.items()}


def is_training_alone(run_dir: Path) -> bool:
    """Return whether a folder holds a training run, or its offline evaluation, and no evaluation in a simulator."""
    if (run_dir / RESULTS).exists() or not run_dir.is_dir():
        return False
    return (run_dir / OFFLINE_FILE).is_file() or next(run_dir.rglob("metrics.jsonl"), None) is not None


def render(
    run_dir: Path,
    results: Results | Returns,
    curves: Sequence[Path] = (),
    compared: Mapping[BaselineName, Mapping[str, Any]] | None = None,
) -> str:
    """Return the page as text. Raises what `write_report` raises."""
    predictions = read_predictions(run_dir)
    taken = 0 if predictions is None else size_of(read_prediction_clips(run_dir))
    body = element(
        "main",
        *_scores(results),
        _measured(results, compared or {}),
        _offline_if_there(run_dir),
        open_loop_section(run_dir),
        predictions_section(predictions, run_dir),
        _diagnosis_if_there(run_dir),
        curves_section(read_curves(run_dir, curves)),
        films_section(read_clips(run_dir), results.labels, taken),
        time_section(results),
        provenance_section(results, run_dir),
    )
    return document(results.title or PAGE_TITLE, body, _player())


def _player() -> Markup:
    """The script that plays videos while they are in view."""
    return element("script", Markup(files("tempovla.report").joinpath("play.js").read_text(encoding="utf-8")))


def _scores(results: Results | Returns) -> tuple[Markup, Markup]:
    if isinstance(results, Returns):
        return returns_headline(results), returns_section(results)
    return headline(results), rates_section(results)


def _measured(results: Results | Returns, compared: Mapping[BaselineName, Mapping[str, Any]]) -> Markup | None:
    """What the simulator measured beside the score, by task, and beside the baselines."""
    columns = [(element("span", results.labels[task.name]), task.figures) for task in results.tasks]
    mean = [(element("span", "Mean"), results.mean.figures)] if len(columns) > 1 else []
    shown = {name: BASELINES[name].column for name in compared}
    beside = [beside_table(compared[name], f"Beside the baseline: {top.lower()}", top) for name, top in shown.items()]
    return measured_section([*columns, *mean], beside)


def render_training(run_dir: Path, curves: Sequence[Path] = (), title: str | None = None) -> str:
    """Return the page on a run that was not evaluated in a simulator. Raises what `write_report` raises."""
    drawn, offline, trained = read_curves(run_dir, curves), read_offline(run_dir), read_trained(run_dir)
    predictions = read_predictions(run_dir)
    facts = element(
        "div", facts_column("Run", trained.facts), facts_column("Versions", trained.versions), class_="facts"
    )
    body = element(
        "main",
        training_headline(run_dir, drawn, offline, title, predictions),
        None if offline is None and predictions is not None else offline_section(offline, run_dir),
        open_loop_section(run_dir),
        predictions_section(predictions, run_dir),
        _diagnosis_if_there(run_dir),
        curves_section(drawn),
        element("section", element("h2", "The run"), facts),
    )
    return document(title or PAGE_TITLE, body, *([] if predictions is None else [_player()]))


def _offline_if_there(run_dir: Path) -> Markup | None:
    offline = read_offline(run_dir)
    return None if offline is None else offline_section(offline, run_dir)


def _diagnosis_if_there(run_dir: Path) -> Markup | None:
    """What `tempovla diagnose memory --out RUN_DIR` left.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    path = run_dir / "diagnosis.json"
    if not path.is_file():
        return None
    with said_by(path, remedy="run `tempovla diagnose memory` again"):
        return diagnosis_section(load_json(path))


def time_section(results: Evaluation) -> Markup:
    """Return the times of all stages on one scale, and the time outside of them."""
    heading = element("h2", "Where the time went")
    if not results.stages:
        return element("section", heading, element("p", "No stages were recorded in results.json.", class_="missing"))
    longest_s = max(max(stage.cpu_seconds, stage.wall_seconds) for stage in results.stages) or 1.0
    rows = [
        join(
            element("div", stage.name, class_="name"),
            element("div", stage_bar(stage, longest_s)),
            element(
                "div",
                element("b", f"{stage.cpu_seconds:.1f}"),
                element("span", f"{stage.wall_seconds:.1f}"),
                class_="value",
            ),
        )
        for stage in results.stages
    ]
    legend = element(
        "p",
        element("span", element("i", class_="swatch cpu"), "CPU seconds, all processes"),
        element("span", element("i", class_="swatch wall"), "seconds on the clock"),
        class_="legend",
    )
    return element("section", heading, legend, element("div", *rows, class_="stages"), _totals(results))


def _totals(results: Evaluation) -> Markup | None:
    told = []
    for total, unit, part in (
        (results.cpu_seconds, "CPU seconds", sum(stage.cpu_seconds for stage in results.stages)),
        (results.wall_seconds, "seconds on the clock", sum(stage.wall_seconds for stage in results.stages)),
    ):
        if total is not None:
            rest = f", {total - part:.1f} of them outside the stages" if total - part >= 0.05 else ""
            told.append(f"{total:.1f} {unit} in all{rest}")
    return element("p", f"{'; '.join(told)}.", class_="note") if told else None


def provenance_section(results: Evaluation, run_dir: Path) -> Markup:
    """Return the facts for a repetition: command, seed, machine and versions."""
    if results.command is None:
        command = element("p", "The command was not recorded in results.json.", class_="missing")
    else:
        command = element("pre", element("code", results.command))
    facts = {"seed": results.seed, "date": results.date, "folder": run_dir.resolve().name}
    if results.wall_seconds is not None:
        facts["took"] = duration(results.wall_seconds)
    run = {name: str(value) for name, value in facts.items() if value is not None}
    return element(
        "section",
        element("h2", "Do it again"),
        command,
        element(
            "div",
            facts_column("Run", run),
            facts_column("Machine", results.machine),
            facts_column("Versions", results.versions),
            class_="facts",
        ),
    )
