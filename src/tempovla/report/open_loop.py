"""Open-loop figures of a car's policy: as text of commands, and as a part of the report."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from tempovla.report.fields import Reader, load_json
from tempovla.report.format_text import dotted, quoted
from tempovla.report.markup import Markup, element
from tempovla.storage.paths import inside
from tempovla.storage.said_by import said_by

FOLDER = "predictions"
"""Of the pictures, in the folder of a run."""
INDEX = "bird_views.json"
CONVENTIONS = {"uniad": "UniAD", "stp3": "ST-P3, VAD"}
NOTES = (
    "UniAD's figure is the value at the time, that of ST-P3 and VAD the mean up to it, which is about half of it.",
    "Intervals are over the scenes.",
    "Open loop does not show how a policy drives: it never meets what its own mistakes lead to, and nobody reacts.",
)
_LEGEND = "The recorded trajectory is green, the predicted one red."
_NO_VALUE = "-"
GAP = "  "
TERMINAL = 100
"""Characters of a line of text at the most."""


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first cell of a row is its name.

    Attributes:
        title: what it shows, with the unit.
        head: of each column after the names, the group of columns that it belongs to and its own name.
        rows: a name and the cells.
    """

    title: str
    head: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> list[tuple[str, list[int]]]:
        """The groups from left to right, with the places of their columns after the names."""
        found: list[tuple[str, list[int]]] = []
        for place, (group, _) in enumerate(self.head):
            if found and found[-1][0] == group:
                found[-1][1].append(place)
            else:
                found.append((group, [place]))
        return found


def open_loop_tables(driving: Mapping[str, Any]) -> list[Table]:
    """Return the tables of open-loop figures: distances, collisions, whole trajectories by event, and what the
    policy recognises.

    Args:
        driving: `open_loop` of offline.json.
    """
    rows: Mapping[str, Any] = driving["rows"]
    times = [f"{time_s:g}" for time_s in driving["horizons_s"]]
    tables = [_distances(rows, times)] if times else []
    if times and any("collision" in row for row in rows.values()):
        tables.append(_collisions(rows, times))
    tables.append(_whole(driving, rows))
    return [*tables, _recognised(driving["recognised"])] if "recognised" in driving else tables


def _distances(rows: Mapping[str, Any], times: list[str]) -> Table:
    columns = [(convention, time) for convention in CONVENTIONS for time in (*times, "mean")]
    head = [(CONVENTIONS[convention], _time(time)) for convention, time in columns]
    cells = [
        (name, *(_number(row["l2"][convention][time]) for convention, time in columns), _interval(row, times[-1]))
        for name, row in rows.items()
    ]
    last = (f"{CONVENTIONS['uniad']} {_time(times[-1])}", "[95%]")
    return Table("Distance from the recorded trajectory [m]", (*head, last), tuple(cells))


def _collisions(rows: Mapping[str, Any], times: list[str]) -> Table:
    columns = [(convention, time) for convention in CONVENTIONS for time in (times[-1], "mean")]
    kinds = [("collision", ""), ("collision_new", "new, ")]
    head = [(f"{prefix}{CONVENTIONS[c]}", _time(time)) for _, prefix in kinds for c, time in columns]
    cells = []
    for name, row in rows.items():
        told = [_percent(row[kind][c][time]) if kind in row else _NO_VALUE for kind, _ in kinds for c, time in columns]
        off = _percent(row["off_road"]["uniad"][times[-1]]) if "off_road" in row else _NO_VALUE
        cells.append((name, *told, off))
    title = "Collisions with others [%]; new ones are those at moments at which the recorded car touches nobody"
    return Table(title, (*head, ("off the road", _time(times[-1]))), tuple(cells))


def _whole(driving: Mapping[str, Any], rows: Mapping[str, Any]) -> Table:
    events = driving["events"]
    head = [("all moments", "ADE"), ("all moments", "FDE"), ("all moments", "miss [%]")]
    head += [(event, f"FDE ({count:,})") for event, count in events.items()]
    cells = []
    for name, row in rows.items():
        by_event = [_number(row["by_event"][event]["fde"]) for event in events]
        cells.append((name, _number(row["ade"]), _number(row["fde"]), _percent(row["miss_rate"]), *by_event))
        for k, modes in row.get("modes", {}).items():
            best = f"{name}, best of {k}"
            told = (_number(modes["min_ade"]), _number(modes["min_fde"]), _percent(modes["miss_rate"]))
            cells.append((best, *told, *[_NO_VALUE] * len(events)))
    return Table("Whole trajectories [m], and by what the recorded car does (moments)", tuple(head), tuple(cells))


def _recognised(figures: Mapping[str, Any]) -> Table:
    cells = []
    for name, figure in figures.items():
        ci95 = figure["ci95"]
        interval = _NO_VALUE if ci95 is None else f"[{ci95[0]:.2f}, {ci95[1]:.2f}]"
        cells.append((_recognised_name(name), _number(figure), interval))
    return Table("What the policy recognises of its surroundings", (("", "0 to 1"), ("", "[95%]")), tuple(cells))


def _recognised_name(metric: str) -> str:
    """A metric of training in words, such as `others, IoU in 1 s` for `occupancy_iou_1s`."""
    subject, _, measure = metric.partition("_")
    kind, _, time = measure.partition("_")
    if kind != "iou":
        return "traffic lights, share of right answers" if metric == "light_accuracy" else metric.replace("_", " ")
    when = {"": "", "0s": " now"}.get(time, f" in {time.removesuffix('s')} s")
    return f"{'others' if subject == 'occupancy' else subject}, IoU{when}"


def _time(time: str) -> str:
    return time if time == "mean" else f"{time} s"


def _number(figure: Mapping[str, Any]) -> str:
    return _NO_VALUE if figure["mean"] is None else f"{figure['mean']:.2f}"


def _percent(figure: Mapping[str, Any]) -> str:
    return _NO_VALUE if figure["mean"] is None else f"{100 * figure['mean']:.1f}"


def _interval(row: Mapping[str, Any], time: str) -> str:
    ci95 = row["l2"]["uniad"][time]["ci95"]
    return _NO_VALUE if ci95 is None else f"[{ci95[0]:.2f}, {ci95[1]:.2f}]"


def open_loop_lines(driving: Mapping[str, Any]) -> list[str]:
    """Return the open-loop figures for people.

    Args:
        driving: `open_loop` of offline.json.
    """
    lines = [f"open loop: {_moments(driving)}", *(line for note in NOTES for line in wrap(note, TERMINAL))]
    for table in open_loop_tables(driving):
        lines += ["", table.title, *_text_lines(table)]
    return lines


def _text_lines(table: Table) -> list[str]:
    """The groups of columns, the columns, and the rows, each cell below its head."""
    names = ["", *(row[0] for row in table.rows)]
    cells = [[name for _, name in table.head], *(row[1:] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.head))]
    spans = []
    for group, places in table.groups:
        lacking = len(group) - sum(widths[place] for place in places) - len(GAP) * (len(places) - 1)
        widths[places[0]] += max(lacking, 0)
        spans.append(sum(widths[place] for place in places) + len(GAP) * (len(places) - 1))
    first = max(map(len, names))
    heads = [f"{group:>{span}}" for (group, _), span in zip(table.groups, spans, strict=True)]
    lines = [GAP.join([" " * first, *heads])] if any(group for group, _ in table.groups) else []
    for name, row in zip(names, cells, strict=True):
        lines.append(GAP.join([f"{name:<{first}}", *(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True))]))
    return [line.rstrip() for line in lines]


def open_loop_section(run_dir: Path) -> Markup | None:
    """Return tables and pictures of RUN_DIR/offline.json and RUN_DIR/predictions; None where no car was judged.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    path = run_dir / "offline.json"
    if not path.is_file():
        return None
    driving = load_json(path).get("open_loop")
    if driving is None:
        return None
    with said_by(path, remedy="run `tempovla eval offline` again"):
        tables = [_drawn(table) for table in open_loop_tables(driving)]
        told = " ".join([f"{_moments(driving)}.", *NOTES])
    return element(
        "section",
        element("h2", "Trajectories, open loop"),
        element("p", told, class_="note"),
        *tables,
        *_pictures(run_dir),
    )


def _moments(driving: Mapping[str, Any]) -> str:
    samples, scenes = driving["samples"], driving["scenes"]
    return f"{samples:,} moment{'s' * (samples != 1)} of {scenes:,} scene{'s' * (scenes != 1)}"


def _drawn(table: Table) -> Markup:
    groups = (element("th", group, scope="colgroup", colspan=len(places)) for group, places in table.groups)
    columns = (element("th", name, scope="col") for _, name in table.head)
    heads = [element("tr", element("td"), *groups)] if any(group for group, _ in table.groups) else []
    heads.append(element("tr", element("td"), *columns))
    rows = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
        for row in table.rows
    ]
    drawn = element("table", element("thead", *heads), element("tbody", *rows))
    return element("div", element("h3", table.title), element("div", drawn, class_="scroll"))


def _pictures(run_dir: Path) -> list[Markup]:
    """The bird's eye views below a heading; nothing where there are none."""
    path = run_dir / FOLDER / INDEX
    if not path.is_file():
        return []
    inside(run_dir, f"{FOLDER}/{INDEX}", said_by="the run's", remedy="copy the folder again")
    entries = [Reader(path, f"[{i}]", entry) for i, entry in enumerate(load_json(path, list))]
    shown = [drawn for entry in entries if (drawn := _picture(entry, path.parent)) is not None]
    grid = element("div", *shown, class_="grid")
    return [element("h3", "Seen from above"), element("p", _LEGEND, class_="note"), grid] if shown else []


def _picture(entry: Reader, folder: Path) -> Markup | None:
    name = entry.get("file", str, required=True)
    remedy = "name a picture in the folder of the index"
    path = inside(folder, name, said_by=f"{INDEX}: {entry.key}.file", remedy=remedy)
    if not path.is_file():
        return None
    event, scene, step = entry.get("event", str), entry.get("scene", int), entry.get("step", int)
    label = f"episode {scene}, control step {step}"
    error = f"{entry.number('final_error_m'):.2f} m off at the end"
    address = "data:image/png;base64," + b64encode(path.read_bytes()).decode("ascii")
    picture = element("img", src=address, alt=f"trajectories from above, {quoted(label)}")
    caption = element("figcaption", element("b", event or ""), element("span", dotted([label, error])))
    return element("figure", element("div", picture, class_="screen"), caption, class_="film")
