"""The report: one self-contained HTML page about a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from tempovla.report.baselines import with_baselines
from tempovla.report.chart import stage_bar
from tempovla.report.curves import curves_section
from tempovla.report.format_text import duration
from tempovla.report.markup import Markup, element, join
from tempovla.report.results import headline, rates_section
from tempovla.report.run import BaselineName, Results, read_clips, read_curves, read_results
from tempovla.report.videos import films_section
from tempovla.storage.lock import holding
from tempovla.storage.whole import write_text

PAGE_TITLE = "TempoVLA run report"


def write_report(
    run_dir: Path | str,
    out: Path | str,
    *,
    baselines: Mapping[BaselineName, Path] | None = None,
    curves: Sequence[Path] = (),
    title: str | None = None,
) -> Path:
    """Write the report on RUN_DIR to `out`, replacing it in one step; returns `out`.

    Reads results.json (required), every metrics.jsonl and rollouts/index.json with its videos; the page says in one
    line which of them are missing. The page loads nothing from elsewhere.

    Args:
        run_dir: what the report is about.
        out: HTML file.
        baselines: other evaluations of the same tasks (a folder or a results.json) that are shown as baselines.
        curves: further folders below which there are metrics.jsonl.
        title: the heading, in place of that in results.json.

    Raises:
        ValueError: if results.json is missing, or a file that is there is broken, a baseline is of other tasks or the
            run itself, or a folder of curves has none; naming file, key and remedy.
    """
    results = with_baselines(read_results(Path(run_dir)), baselines or {}, Path(run_dir) / "results.json")
    page = render(Path(run_dir), results if title is None else replace(results, title=title), curves)
    return write_page(page, Path(out))


def write_page(page: str, out: Path) -> Path:
    """Write a page such that the file is at every moment the old or the new one; returns `out`.

    Raises:
        ValueError: if somebody else writes it now.
        NotWrittenError: if the disk does not take it.
    """
    with holding(out, "writes the report", remedy="let it end, or give another file"):
        write_text(out, page)
    return out


def render(run_dir: Path, results: Results, curves: Sequence[Path] = ()) -> str:
    """The page as text. Raises what `write_report` raises."""
    body = element(
        "main",
        headline(results),
        rates_section(results),
        curves_section(read_curves(run_dir, curves)),
        films_section(read_clips(run_dir), results.labels),
        time_section(results),
        provenance_section(results, run_dir),
    )
    script = files("tempovla.report").joinpath("play.js").read_text(encoding="utf-8")
    return document(results.title or PAGE_TITLE, body, element("script", Markup(script)))


def document(title: str, *body: Markup) -> str:
    """A page that loads nothing from elsewhere."""
    style = files("tempovla.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    return join(Markup("<!doctype html>\n"), element("html", head, element("body", *body), lang="en"))


def time_section(results: Results) -> Markup:
    """Where the time went: every stage on one scale, and what no stage accounts for."""
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


def _totals(results: Results) -> Markup | None:
    told = []
    for total, unit, part in (
        (results.cpu_seconds, "CPU seconds", sum(stage.cpu_seconds for stage in results.stages)),
        (results.wall_seconds, "seconds on the clock", sum(stage.wall_seconds for stage in results.stages)),
    ):
        if total is not None:
            rest = f", {total - part:.1f} of them outside the stages" if total - part >= 0.05 else ""
            told.append(f"{total:.1f} {unit} in all{rest}")
    return element("p", f"{'; '.join(told)}.", class_="note") if told else None


def provenance_section(results: Results, run_dir: Path) -> Markup:
    """What is needed to do it again: command, seed, machine and versions."""
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


def facts_column(title: str, facts: Mapping[str, str]) -> Markup:
    """Names and values below a heading."""
    if not facts:
        listed = element("p", "Not recorded in results.json.", class_="missing")
    else:
        listed = element("dl", *[join(element("dt", name), element("dd", text)) for name, text in facts.items()])
    return element("div", element("h3", title), listed)
