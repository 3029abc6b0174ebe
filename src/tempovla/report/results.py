"""The headline and the success rates beside their baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tempovla.report.chart import key, rate_axis, rate_row
from tempovla.report.format_text import (
    and_list,
    count,
    difference,
    dotted,
    duration,
    interval,
    percentage,
    quoted,
    solved_at_once,
)
from tempovla.report.markup import Markup, element, join
from tempovla.report.run import BaselineName, Evaluation, Rate, Results, TaskResult


@dataclass(frozen=True)
class Baseline:
    """How a baseline is shown: its CSS class, and its names on the card, in the legend and over the column."""

    style: str
    card: str
    meaning: str
    legend: str
    column: str


BASELINES: dict[BaselineName, Baseline] = {
    "blind": Baseline("blind", "Blind policy", "trained in the same way, but it sees nothing", "blind policy", "Blind"),
    "wrong_instruction": Baseline(
        *("wrong", "Wrong instruction", "given a wrong instruction"),
        *("wrong instruction", "Wrong instruction"),
    ),
}


def headline(results: Results) -> Markup:
    """Return the title, a sentence about the run, and the mean with its interval beside baselines and cost."""
    mean = results.mean
    counted = [task for task in results.tasks if task.counted]
    scope = f"mean success over {len(counted)} task{'s' * (len(counted) != 1)}"
    certainty = "no interval given" if mean.policy.ci95 is None else f"95% interval {interval(mean.policy)}"
    figure = element(
        "div",
        element("p", percentage(mean.policy), class_="big"),
        element("p", scope, class_="scope"),
        element("p", certainty, class_="certainty"),
        element("p", count(mean.policy), class_="certainty"),
        class_="figure",
    )
    cards = [_baseline_card(BASELINES[name], mean.baseline(name), mean.policy) for name in results.baselines]
    return element(
        "header",
        element("p", "TempoVLA", element("span", "run report"), class_="eyebrow"),
        element("h1", results.title or "How often does the policy succeed?"),
        element("p", results.summary or _summary(results), class_="lede"),
        element("div", figure, *cards, cost_card(results), class_="cards"),
    )


def rates_section(results: Results) -> Markup:
    """Return the success per task: a chart of rates and intervals, what it does not show, and the same as a table."""
    has_mean = len(results.tasks) > 1
    rows = [_chart_row(task, _task_label(task, results)) for task in results.tasks]
    if has_mean:
        rows.append(_chart_row(results.mean, _mean_label(results), "mean"))
    chart = element("div", *rows, element("div"), rate_axis(), element("div"), class_="chart")
    marks = [element("span", key("policy"), "policy")]
    marks += [
        element("span", key(shown.style), shown.legend) for shown in (BASELINES[name] for name in results.baselines)
    ]
    bar = element("span", element("i", class_="swatch bar"), "95% interval")
    legend = element("p", *marks, bar, class_="legend")
    notes = [element("p", note, class_="note") for note in cautions(results)]
    return element("section", element("h2", "Success by task"), legend, chart, *notes, _table(results, has_mean))


def cautions(results: Results) -> list[str]:
    """Return cautions about the rates: episodes that were solved at once, tasks where a baseline reaches into the
    policy's interval, and missing intervals.
    """

    def reached(name: BaselineName) -> list[str]:
        names = []
        for task in results.tasks:
            baseline = task.baseline(name)
            if baseline and task.policy.ci95 and baseline.success >= task.policy.ci95[0]:
                names.append(results.labels[task.name])
        return names

    notes = [*results.remarks]
    if any(task.solved_at_once for task in results.tasks):
        counts = {results.labels[task.name]: task.solved_at_once for task in results.tasks}
        notes.append(f"{solved_at_once(counts, sum(task.policy.episodes or 0 for task in results.tasks))}.")
    if names := reached("blind"):
        notes.append(
            f"On {and_list(names)} the blind policy reaches the policy's interval: this alone does not show that the "
            "policy uses its sensors."
        )
    if names := reached("wrong_instruction"):
        notes.append(
            f"On {and_list(names)} the policy does as well with another instruction: this alone does not show that it "
            "follows instructions."
        )
    if names := [results.labels[task.name] for task in results.tasks if task.policy.ci95 is None]:
        notes.append(f"results.json gives no interval for {and_list(names)}.")
    return notes


def _summary(results: Results) -> str:
    tasks = len(results.tasks)
    episodes = sum(task.policy.episodes or 0 for task in results.tasks)
    beside = [
        words
        for words, rate in (
            ("with a policy that cannot see", results.mean.blind),
            ("with the same policy under a wrong instruction", results.mean.wrong_instruction),
        )
        if rate is not None
    ]
    baselines = f", compared {and_list(beside)}" if beside else ""
    over = "one task" if tasks == 1 else f"{tasks} tasks"
    return f"One policy in a simulator, over {episodes:,} episode{'s' * (episodes != 1)} of {over}{baselines}."


def _baseline_card(baseline: Baseline, rate: Rate | None, policy: Rate) -> Markup:
    if rate is None:
        value, detail = "\N{EN DASH}", "not evaluated on every task"
    else:
        value, detail = percentage(rate), difference(rate, policy)
    return element(
        "div",
        element("p", key(baseline.style), baseline.card, class_="label"),
        element("p", value, class_="value"),
        element("p", detail, class_="detail"),
        element("p", baseline.meaning, class_="meaning"),
        class_="card",
    )


def cost_card(results: Evaluation) -> Markup:
    """Return the card of the time that the run took, and its seed."""
    wall = "\N{EN DASH}" if results.wall_seconds is None else duration(results.wall_seconds)
    cpu = "CPU time not recorded" if results.cpu_seconds is None else f"{results.cpu_seconds:.0f} CPU seconds"
    seed = "seed not recorded" if results.seed is None else f"seed {results.seed}"
    return element(
        "div",
        element("p", "Start to finish", class_="label"),
        element("p", wall, class_="value"),
        element("p", cpu, class_="detail"),
        element("p", seed, class_="meaning"),
        class_="card",
    )


def _chart_row(task: TaskResult, label: Markup, row: str = "") -> Markup:
    return join(
        element("div", label, class_=f"name {row}".strip()),
        element("div", rate_row(task), class_=f"plot {row}".strip()),
        element(
            "div",
            element("b", percentage(task.policy)),
            element("span", interval(task.policy)),
            class_=f"value {row}".strip(),
        ),
    )


def _task_label(task: TaskResult, results: Results) -> Markup:
    told = element("span", quoted(task.instruction)) if task.instruction else None
    return join(_named("b", task.name, results), told)


def _named(kind: str, name: str, results: Results, **attributes: str) -> Markup:
    """Return an element with the task's label, and with its name as a tooltip where the two differ."""
    label = results.labels[name]
    return element(kind, label, title=None if label == name else name, **attributes)


def _mean_label(results: Results) -> Markup:
    return join(element("b", "Mean"), element("span", _mean_scope(results)))


def _mean_scope(results: Results) -> str:
    left_out = [results.labels[task.name] for task in results.tasks if not task.counted]
    return f"without {and_list(left_out)}" if left_out else "of all tasks"


def _table(results: Results, has_mean: bool) -> Markup:
    heads = ["Task", "Success", "95% interval", "Episodes", *(BASELINES[name].column for name in results.baselines)]
    rows = [
        _table_row(task, _named("th", task.name, results, scope="row"), results.baselines) for task in results.tasks
    ]
    if has_mean:
        name = element("th", "Mean", element("small", _mean_scope(results)), scope="row")
        rows.append(_table_row(results.mean, name, results.baselines, class_="mean"))
    head = element("thead", element("tr", *[element("th", name, scope="col") for name in heads]))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def _table_row(task: TaskResult, name: Markup, baselines: Sequence[BaselineName], class_: str | None = None) -> Markup:
    policy = task.policy
    episodes = "" if policy.episodes is None else str(policy.episodes)
    if policy.episodes is not None and policy.successes is not None:
        episodes = f"{policy.successes}/{policy.episodes}"
    return element(
        "tr",
        name,
        element("td", element("b", percentage(policy))),
        element("td", interval(policy)),
        element("td", episodes or "\N{EN DASH}"),
        *[_baseline_cell(task.baseline(baseline)) for baseline in baselines],
        class_=class_,
    )


def _baseline_cell(rate: Rate | None) -> Markup:
    if rate is None:
        return element("td", "\N{EN DASH}")
    known = dotted([interval(rate) if rate.ci95 else "", f"n = {rate.episodes}" if rate.episodes else ""])
    return element("td", percentage(rate), element("small", known) if known else None)
