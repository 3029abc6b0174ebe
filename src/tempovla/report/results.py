"""The headline and the success rates beside their baselines."""

from __future__ import annotations

from tempovla.report.chart import key, rate_axis, rate_row
from tempovla.report.markup import Markup, element, join
from tempovla.report.run import Rate, Results, TaskResult
from tempovla.report.words import and_list, count, difference, dotted, duration, interval, percentage, quoted


def headline(results: Results) -> Markup:
    """Title, what the run is in one sentence, and the mean with its interval beside the baselines and the cost."""
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
    cards = [
        _baseline_card("blind", "Blind policy", "trained the same way, its images zeroed", mean.blind, mean.policy),
        _baseline_card(
            "wrong", "Wrong instruction", "told to do another of the tasks", mean.wrong_instruction, mean.policy
        ),
        _cost_card(results),
    ]
    return element(
        "header",
        element("p", "TempoVLA", element("span", "run report"), class_="eyebrow"),
        element("h1", results.title or "Does the arm do as it is told?"),
        element("p", results.summary or _summary(results), class_="lede"),
        element("div", figure, *cards, class_="cards"),
    )


def rates_section(results: Results) -> Markup:
    """Success per task: a chart of rates and intervals, what it does not show, and the same as a table."""
    has_mean = len(results.tasks) > 1
    rows = [_chart_row(task) for task in results.tasks]
    if has_mean:
        rows.append(_chart_row(results.mean, label=_mean_label(results)))
    chart = element("div", *rows, element("div"), rate_axis(), element("div"), class_="chart")
    keys = [("policy", "policy", True)]
    keys += [("blind", "blind policy", any(task.blind for task in results.tasks))]
    keys += [("wrong", "instruction of another task", any(task.wrong_instruction for task in results.tasks))]
    marks = [element("span", key(style), label) for style, label, drawn in keys if drawn]
    bar = element("span", element("i", class_="swatch bar"), "95% interval")
    legend = element("p", *marks, bar, class_="legend")
    notes = [element("p", note, class_="note") for note in cautions(results)]
    return element("section", element("h2", "Success by task"), legend, chart, *notes, _table(results, has_mean))


def cautions(results: Results) -> list[str]:
    """What the rates do not show: tasks where a baseline reaches into the policy's interval, missing intervals."""

    def reached(name: str) -> list[str]:
        names = []
        for task in results.tasks:
            baseline: Rate | None = getattr(task, name)
            if baseline and task.policy.ci95 and baseline.success >= task.policy.ci95[0]:
                names.append(task.name)
        return names

    notes = []
    if names := reached("blind"):
        notes.append(
            f"On {and_list(names)} the blind policy reaches the policy's interval: alone, this does not show that the "
            "policy uses its cameras."
        )
    if names := reached("wrong_instruction"):
        notes.append(
            f"On {and_list(names)} the policy does as well when told something else: alone, this does not show "
            "that it listens."
        )
    if names := [task.name for task in results.tasks if task.policy.ci95 is None]:
        notes.append(f"results.json gives no interval for {and_list(names)}.")
    return notes


def _summary(results: Results) -> str:
    tasks = len(results.tasks)
    episodes = sum(task.policy.episodes or 0 for task in results.tasks)
    beside = [
        words
        for words, rate in (
            ("a policy that cannot see", results.mean.blind),
            ("itself when told to do another of the tasks", results.mean.wrong_instruction),
        )
        if rate is not None
    ]
    baselines = f", beside {and_list(beside)}" if beside else ""
    over = "one task" if tasks == 1 else f"{tasks} tasks"
    return f"One policy, run closed loop in simulation on {over} for {episodes:,} episodes in all{baselines}."


def _baseline_card(style: str, name: str, meaning: str, rate: Rate | None, policy: Rate) -> Markup:
    if rate is None:
        value, detail = "\N{EN DASH}", "not evaluated"
    else:
        value, detail = percentage(rate), difference(rate, policy)
    return element(
        "div",
        element("p", key(style), name, class_="label"),
        element("p", value, class_="value"),
        element("p", detail, class_="detail"),
        element("p", meaning, class_="meaning"),
        class_="card",
    )


def _cost_card(results: Results) -> Markup:
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


def _chart_row(task: TaskResult, label: Markup | None = None) -> Markup:
    if label is None:
        label = join(element("b", task.name), element("span", quoted(task.instruction)) if task.instruction else None)
    row = "mean" if task.name == "mean" else None
    return join(
        element("div", label, class_=f"name {row or ''}".strip()),
        element("div", rate_row(task), class_=f"plot {row or ''}".strip()),
        element(
            "div",
            element("b", percentage(task.policy)),
            element("span", interval(task.policy)),
            class_=f"value {row or ''}".strip(),
        ),
    )


def _mean_label(results: Results) -> Markup:
    return join(element("b", "Mean"), element("span", _mean_scope(results)))


def _mean_scope(results: Results) -> str:
    left_out = [task.name for task in results.tasks if not task.counted]
    return f"without {and_list(left_out)}" if left_out else "of all tasks"


def _table(results: Results, has_mean: bool) -> Markup:
    heads = ("Task", "Success", "95% interval", "Episodes", "Blind", "Wrong instruction")
    rows = [_table_row(task, element("th", task.name, scope="row")) for task in results.tasks]
    if has_mean:
        name = element("th", "Mean", element("small", _mean_scope(results)), scope="row")
        rows.append(_table_row(results.mean, name, class_="mean"))
    head = element("thead", element("tr", *[element("th", name, scope="col") for name in heads]))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def _table_row(task: TaskResult, name: Markup, class_: str | None = None) -> Markup:
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
        _baseline_cell(task.blind),
        _baseline_cell(task.wrong_instruction),
        class_=class_,
    )


def _baseline_cell(rate: Rate | None) -> Markup:
    if rate is None:
        return element("td", "\N{EN DASH}")
    known = dotted([interval(rate) if rate.ci95 else "", f"n = {rate.episodes}" if rate.episodes else ""])
    return element("td", percentage(rate), element("small", known) if known else None)
