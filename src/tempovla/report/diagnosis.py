"""The page about a diagnosis: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempovla.report.diagnosis_chart import Axis, Estimate, lengths_chart
from tempovla.report.document import document, facts_column, write_page
from tempovla.report.format_text import change_of, quoted
from tempovla.report.markup import Markup, element, join
from tempovla.timeline.arguments import with_noun

CONDITION_NAMES = {
    "full": "full context",
    "shuffled": "past shuffled",
    "removed": "past removed",
    "another": "past of another episode",
}
MEAN_ACTION = "the mean action"
ONE_FRAME = {"full": "one frame"}
"""The only condition of a policy without a context."""
MEANINGS = {
    "full": "all frames of the episode so far, as in control",
    "shuffled": "the same frames in a random order, the present one last",
    "removed": "the present frame alone",
    "another": "the present frame after the frames of an episode of the same instruction, where there is one",
}


def condition_names(found: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the names of a diagnosis' conditions."""
    return CONDITION_NAMES if found["context"] else ONE_FRAME


def write_diagnosis(found: Mapping[str, Any], out: Path) -> Path:
    """Write the page on what `tempovla diagnose memory` found, replacing it in one step; returns `out`."""
    return write_page(render_diagnosis(found), out)


def render_diagnosis(found: Mapping[str, Any]) -> str:
    """Return the page as text."""
    sections = [_headline(found), _conditions(found), _lengths(found), _tasks(found), _copycat(found), _again(found)]
    return document(found["title"], element("main", *sections))


def diagnosis_section(found: Mapping[str, Any]) -> Markup:
    """Return the verdict and the conditions, as a part of another page."""
    sentences = [element("p", line.replace("R^2", "R\N{SUPERSCRIPT TWO}"), class_="note") for line in found["verdict"]]
    return element("section", element("h2", "Does it use its past?"), *sentences, *_conditions_of(found))


def _size_of(found: Mapping[str, Any]) -> str:
    decisions, episodes = found["decisions"], len(found["dataset"]["episodes"])
    return f"{decisions:,} decision{'s' * (decisions != 1)} of {with_noun(episodes, 'episode')}"


def _headline(found: Mapping[str, Any]) -> Markup:
    conditions, full = found["conditions"], found["conditions"]["full"]
    low, high = full["ci95"]
    figure = element(
        "div",
        element("p", f"{full['error']:.3f}", class_="big"),
        element("p", "mean absolute error, normalised", class_="scope"),
        element("p", f"95% interval {low:.4f} to {high:.4f}", class_="certainty"),
        element("p", _size_of(found), class_="certainty"),
        class_="figure",
    )
    cards = [
        _card(CONDITION_NAMES[name], *_split(change_of(conditions[name], full["error"])), MEANINGS[name])
        for name in conditions
        if name != "full"
    ]
    excess = found["copycat"]["excess"]
    value = "\N{EN DASH}" if excess["value"] is None else f"{excess['value']:+.2f}"
    detail = "not known" if excess["value"] is None else _interval(excess["ci95"], "+.2f")
    cards.append(_card("copycat excess", value, detail, "R\N{SUPERSCRIPT TWO} of the policy less the expert's"))
    return element(
        "header",
        element("p", "TempoVLA", element("span", "diagnosis of memory"), class_="eyebrow"),
        element("h1", found["title"]),
        *[element("p", line.replace("R^2", "R\N{SUPERSCRIPT TWO}"), class_="lede") for line in found["verdict"]],
        element("div", figure, *cards, class_="cards"),
    )


def _card(label: str, value: str, detail: str, meaning: str) -> Markup:
    return element(
        "div",
        element("p", label, class_="label"),
        element("p", value, class_="value"),
        element("p", detail, class_="detail"),
        element("p", meaning, class_="meaning"),
        class_="card",
    )


def _split(change: str) -> tuple[str, str]:
    """'+12.0%' and '[+8.1%, +16.2%]'."""
    value, _, interval = change.partition(" ")
    return value, interval


def _interval(ends: list[float], form: str = ".4f") -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def _estimate(label: str, block: Mapping[str, Any], name: str = "error") -> Estimate:
    return Estimate(label, block[name], *block["ci95"])


def _conditions(found: Mapping[str, Any]) -> Markup:
    return element(
        "section", element("h2", "With another past" if found["context"] else "Error"), *_conditions_of(found)
    )


def _conditions_of(found: Mapping[str, Any]) -> tuple[Markup, ...]:
    blocks, names = found["conditions"], condition_names(found)
    estimates = {name: _estimate(names[name], block) for name, block in blocks.items()}
    meanings = MEANINGS if found["context"] else {"full": "all that this policy sees, as in control"}
    if "mean_action" in found:
        estimates["mean_action"] = _estimate(MEAN_ACTION, found["mean_action"])
        meanings = {**meanings, "mean_action": "always giving the mean of the demonstrated actions"}
    chart = _bars(estimates, meanings, Axis(list(estimates.values())))
    note = (
        "Mean absolute error of the actions that are executed until the next decision, against those demonstrated, as "
        "the policy sees actions. Whiskers are 95% intervals over episodes."
    )
    if found["context"]:
        note += " Judge by the differences, which compare the same frames: in the figures above, and in the table."
    return element("p", note, class_="note"), chart, _table(found)


def _bars(estimates: Mapping[str, Estimate], meanings: Mapping[str, str], axis: Axis) -> Markup:
    rows = [
        join(
            element("div", element("b", each.label), element("span", meanings[name]), class_="name"),
            element("div", axis.bar(each, "policy" if name in ("full", "policy_r2") else ""), class_="plot"),
            element(
                "div",
                element("b", f"{each.value:.4f}"),
                element("span", _interval([each.low, each.high])),
                class_="value",
            ),
        )
        for name, each in estimates.items()
    ]
    return element("div", *rows, element("div"), axis.labels(), element("div"), class_="chart bars")


def _table(found: Mapping[str, Any]) -> Markup:
    full = found["conditions"]["full"]["error"]
    rows = [(condition_names(found)[name], block) for name, block in found["conditions"].items()]
    if found["context"]:
        rows += [(_frames(block["frames"], found["longest"], "last "), block) for block in found["lengths"]]
    if "mean_action" in found:
        rows.append((MEAN_ACTION, found["mean_action"]))
    heads = ["Past", "Error", "95% interval", *(["Against full context", "95% interval"] if found["context"] else [])]
    body = []
    for name, block in rows:
        change = _split(change_of(block, full)) if "difference" in block else ("\N{EN DASH}", "\N{EN DASH}")
        cells = [f"{block['error']:.4f}", _interval(block["ci95"]), *change][: len(heads) - 1]
        body.append(element("tr", element("th", name, scope="row"), *[element("td", cell) for cell in cells]))
    return _framed(heads, body)


def _framed(heads: list[str], rows: list[Markup]) -> Markup:
    head = element("thead", element("tr", *[element("th", name, scope="col") for name in heads]))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def _frames(frames: int, longest: int, before: str = "") -> str:
    if frames == longest:
        return "all frames" if before else f"all ({frames})"
    return f"{before}{frames} frame{'s' * (frames > 1)}" if before else str(frames)


def _lengths(found: Mapping[str, Any]) -> Markup:
    heading = element("h2", "How far back")
    if not found["context"]:
        words = "A policy without a context sees one frame: there is no length to sweep."
        return element("section", heading, element("p", words, class_="missing"))
    estimates = [_estimate(_frames(block["frames"], found["longest"]), block) for block in found["lengths"]]
    note = (
        f"The state built from nothing over the last frames alone, one every {found['stride']} control steps. The band "
        "is the 95% interval over episodes, the dashed line the error in full context."
    )
    chart = lengths_chart(estimates, found["conditions"]["full"]["error"], "frames seen, the present one included")
    return element("section", heading, element("p", note, class_="note"), element("div", chart, class_="scroll"))


def _tasks(found: Mapping[str, Any]) -> Markup | None:
    tasks, names = found["tasks"], list(found["conditions"])
    if len(tasks) < 2:
        return None
    rows = []
    for task, block in tasks.items():
        full = block["conditions"]["full"]["error"]
        cells = [
            element(
                "td",
                f"{each['error']:.4f}",
                element("small", change_of(each, full) if "difference" in each else _interval(each["ci95"])),
            )
            for each in block["conditions"].values()
        ]
        rows.append(element("tr", element("th", quoted(task), scope="row"), *cells, element("td", block["episodes"])))
    heads = ["Instruction", *(condition_names(found)[name] for name in names), "Episodes"]
    return element("section", element("h2", "By instruction"), _framed([head.capitalize() for head in heads], rows))


def _copycat(found: Mapping[str, Any]) -> Markup:
    labels = {"expert_r2": "next action of the expert", "policy_r2": "next action of the policy"}
    blocks, heading = found["copycat"], element("h2", "Does it copy?")
    note = (
        "How well a ridge regression predicts the next action from the last action alone, on episodes to which it was "
        "not fitted: R\N{SUPERSCRIPT TWO}. A policy that copies the last action is easier to predict than the expert "
        "that it imitates (de Haan et al., 2019; Wen et al., 2020). So is a policy that is only smoother than its "
        "expert: read this beside the figures above."
    )
    if any(blocks[name]["value"] is None for name in labels):
        words = "The actions do not vary, so there is nothing to predict."
        return element("section", heading, element("p", words, class_="missing"))
    estimates = {name: _estimate(label, blocks[name], "value") for name, label in labels.items()}
    meanings = dict.fromkeys(labels, f"predicted from the last action, {blocks['decisions']:,} decisions")
    chart = _bars(estimates, meanings, Axis(list(estimates.values())))
    return element("section", heading, element("p", note, class_="note"), chart)


def _again(found: Mapping[str, Any]) -> Markup:
    dataset = found["dataset"]
    held_out = "not known" if dataset["held_out"] is None else f"{dataset['held_out']} of {len(dataset['episodes'])}"
    run = {
        "checkpoint": found["checkpoint"],
        "sha256": found["checkpoint_sha256"][:16],
        "dataset": dataset["name"],
        "episodes held out in training": held_out,
        "seed": str(found["seed"]),
        "resamples of the bootstrap": str(found["resamples"]),
        "device": found["device"],
    }
    return element(
        "section",
        element("h2", "Do it again"),
        element("pre", element("code", found["command"])),
        element("div", facts_column("Run", run), facts_column("Versions", found["versions"]), class_="facts"),
    )
