"""The headline and the mean returns by task, of an evaluation whose score is the return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tempovla.report.chart import number
from tempovla.report.diagnosis_chart import Axis, Estimate
from tempovla.report.fields import Reader, is_number
from tempovla.report.format_text import quoted
from tempovla.report.labels import task_labels
from tempovla.report.markup import Markup, element, join
from tempovla.report.measured import Measured, read_measured
from tempovla.report.results import cost_card
from tempovla.report.run import Evaluation, facts_of
from tempovla.storage.json_files import shown


@dataclass(frozen=True)
class TaskReturn:
    """The mean return of the policy on one task, or over all tasks."""

    name: str
    mean: float
    episodes: int
    ci95: tuple[float, float] | None
    instruction: str | None = None
    figures: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def interval(self) -> str:
        """The interval in words and numbers."""
        if self.ci95 is None:
            return "no interval given"
        return f"{_figure(self.ci95[0])} to {_figure(self.ci95[1])}"


@dataclass(frozen=True, kw_only=True)
class Returns(Evaluation):
    """The contents of a results.json of returns."""

    tasks: tuple[TaskReturn, ...]
    mean: TaskReturn

    @cached_property
    def labels(self) -> dict[str, str]:
        """The page's label of each task."""
        return task_labels([task.name for task in self.tasks])


def read_returns(data: Reader) -> Returns:
    """Check the contents of a results.json of returns.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    tasks = data.child("tasks")
    read = tuple(_task(tasks.child(name), name) for name in tasks.value)
    return Returns(tasks=read, mean=_task(data.child("mean"), "mean"), **facts_of(data))


def _task(data: Reader, name: str) -> TaskReturn:
    episodes = data.get("episodes", int, required=True)
    if episodes < 1:
        raise data.error("episodes", f"is {episodes}; it must be a whole number of at least 1")
    interval = data.value.get("return_ci95")
    if interval is not None and not (
        isinstance(interval, list)
        and len(interval) == 2
        and all(map(is_number, interval))
        and interval == [*sorted(interval)]
    ):
        raise data.error("return_ci95", f"is {shown(interval)}; it must be [low, high], finite numbers, or null")
    ci95 = None if interval is None else (interval[0], interval[1])
    return TaskReturn(
        name, data.number("return"), episodes, ci95, data.get("instruction", str), figures=read_measured(data)
    )


def returns_headline(returns: Returns) -> Markup:
    """Return the title, a sentence about the run, and the mean return with its interval beside the cost."""
    mean, tasks = returns.mean, len(returns.tasks)
    certainty = mean.interval if mean.ci95 is None else f"95% interval {mean.interval}"
    figure = element(
        "div",
        element("p", _figure(mean.mean), class_="big"),
        element("p", f"mean return over {tasks} task{'s' * (tasks != 1)}", class_="scope"),
        element("p", certainty, class_="certainty"),
        element("p", _episodes(mean.episodes), class_="certainty"),
        class_="figure",
    )
    over = "one task" if tasks == 1 else f"{tasks} tasks"
    summary = f"One policy in a simulator, over {_episodes(mean.episodes)} of {over}."
    return element(
        "header",
        element("p", "TempoVLA", element("span", "run report"), class_="eyebrow"),
        element("h1", returns.title or "What return does the policy reach?"),
        element("p", returns.summary or summary, class_="lede"),
        element("div", figure, cost_card(returns), class_="cards"),
    )


def returns_section(returns: Returns) -> Markup:
    """Return the mean return by task: a chart with intervals, and the same as a table."""
    rows = [*returns.tasks, *([returns.mean] if len(returns.tasks) > 1 else [])]
    names = [_name(task, returns) for task in rows]
    estimates = [Estimate(task.name, task.mean, *(task.ci95 or (task.mean, task.mean))) for task in rows]
    axis = Axis(estimates)
    drawn = [
        join(
            element("div", name, class_="name"),
            element("div", axis.bar(estimate, "policy"), class_="plot"),
            element("div", element("b", _figure(task.mean)), element("span", task.interval), class_="value"),
        )
        for task, name, estimate in zip(rows, names, estimates, strict=True)
    ]
    chart = element("div", *drawn, element("div"), axis.labels(), element("div"), class_="chart bars")
    heads = [element("th", head, scope="col") for head in ("Task", "Mean return", "95% interval", "Episodes")]
    lines = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(element("td", text) for text in (_figure(task.mean), task.interval, str(task.episodes))),
        )
        for task, name in zip(rows, names, strict=True)
    ]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *lines))
    heading = element("h2", "Return by task")
    return element("section", heading, chart, element("div", table, class_="scroll"))


def _name(task: TaskReturn, returns: Returns) -> Markup:
    if task is returns.mean:
        return join(element("b", "Mean"), element("span", "of all tasks"))
    label = returns.labels[task.name]
    told = element("span", quoted(task.instruction)) if task.instruction else None
    return join(element("b", label, title=None if label == task.name else task.name), told)


def _episodes(count: int) -> str:
    return "1 episode" if count == 1 else f"{count:,} episodes"


def _figure(value: float) -> str:
    """A return of up to four digits: 0.132, 12.4, 812.3, 12,400."""
    return f"{value:.1f}" if 10 <= abs(value) < 1000 else number(value)
