"""Errors of a world model's predictions by horizon, beside those of baselines, as text and as a section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempovla.report.chart import Series, curve_panel, number
from tempovla.report.fields import Reader, is_number, load_json
from tempovla.report.format_text import and_list, demonstrations
from tempovla.report.markup import Markup, element
from tempovla.report.offline import FILE
from tempovla.report.prediction_videos import read_prediction_clips, videos_part
from tempovla.storage.json_files import shown

Figures = tuple[float | None, ...]
Intervals = tuple[tuple[float, float] | None, ...]

TOLD_HORIZONS = (2, 4, 8)
"""Control steps ahead at which a ratio is told in words, beside the last one, where there are predictions of them."""
KINDS = {
    "state": "as decoded by the model",
    "picture": "as decoded by the model, from 0 to 1",
    "latent": "in the latent space, as the model decodes no observations",
    "reward": "",
}
"""The space of the errors, by kind of stream."""


@dataclass(frozen=True)
class BaselineWords:
    """How a baseline is shown: its line's CSS class, its name, and what the model's error is a part of."""

    style: str
    name: str
    of_its_error: str


BASELINES = {
    "copy": BaselineWords(
        "policy persistence", "copy of the last observation", "the error of copying the last observation"
    ),
    "linear": BaselineWords("blind dashed", "linear extrapolation", "the error of linear extrapolation"),
    "last": BaselineWords("policy persistence", "last reward", "the error of repeating the last reward"),
    "mean": BaselineWords("blind dashed", "mean reward", "the error of always giving the mean reward"),
}
"""Baselines by name; the first one of a stream is the one that words compare with."""


@dataclass(frozen=True)
class BaselineErrors:
    """Mean squared errors of a baseline by horizon, and the model's divided by them."""

    mse: Figures
    ratio: Figures
    ratio_ci95: Intervals


@dataclass(frozen=True)
class StreamPredictions:
    """Mean squared errors of one stream's predictions by horizon; None where they are unknown."""

    name: str
    kind: str
    mse: Figures
    baselines: Mapping[str, BaselineErrors]

    @property
    def reference(self) -> tuple[str, BaselineErrors]:
        """The first baseline, with its name."""
        return next(iter(self.baselines.items()))


@dataclass(frozen=True)
class Predictions:
    """What `tempovla eval offline` measured of a world model.

    Attributes:
        horizons: control steps ahead.
        every: control steps from one start to the next.
        starts: number of starts, from which the model predicted.
        episodes: number of their episodes.
        is_held_out: whether training did not see these episodes.
        streams: one each.
        videos: number of videos that were written; None if none were asked for.
    """

    horizons: tuple[int, ...]
    every: int
    starts: int
    episodes: int
    is_held_out: bool
    streams: tuple[StreamPredictions, ...]
    videos: int | None

    @property
    def told(self) -> list[int]:
        """Places of the horizons that are told in words."""
        last = len(self.horizons) - 1
        chosen = [i for i, horizon in enumerate(self.horizons) if horizon in TOLD_HORIZONS and i != last]
        return [*(chosen or ([0] if last else [])), last]


def read_predictions(run_dir: Path) -> Predictions | None:
    """Read the predictions in RUN_DIR/offline.json; None where there are none.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    path = run_dir / FILE
    data = Reader(path, "", load_json(path)) if path.is_file() else None
    return None if data is None or data.optional("predictions") is None else predictions_of(data)


def predictions_of(data: Reader) -> Predictions:
    """Return the predictions of an offline.json.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    found, split = data.child("predictions"), data.get("split", str)
    horizons = found.get("horizons", list, required=True)
    if not horizons or not all(type(horizon) is int and horizon > 0 for horizon in horizons):
        raise found.error("horizons", f"is {shown(horizons)}; it must be a list of whole numbers of control steps")
    streams = found.child("streams")
    if not streams.value:
        raise found.error("streams", "is empty; run `tempovla eval offline` again")
    every, starts, episodes = (found.get(key, int, required=True) for key in ("every", "starts", "episodes"))
    return Predictions(
        tuple(horizons),
        every,
        starts,
        episodes,
        split == "validation",
        tuple(_stream(streams.child(name), name, len(horizons)) for name in streams.value),
        found.get("videos", int),
    )


def _stream(data: Reader, name: str, count: int) -> StreamPredictions:
    kind = data.get("kind", str, required=True)
    if kind not in KINDS:
        raise data.error("kind", f"is {shown(kind)}; choose from {', '.join(KINDS)}")
    baselines = data.child("baselines")
    unknown = [other for other in baselines.value if other not in BASELINES]
    if unknown or not baselines.value:
        raise data.error("baselines", f"are {shown(list(baselines.value))}; choose from {', '.join(BASELINES)}")
    children = {other: baselines.child(other) for other in baselines.value}
    return StreamPredictions(
        name,
        kind,
        _figures(data, "mse", count),
        {
            other: BaselineErrors(
                _figures(child, "mse", count), _figures(child, "ratio", count), _intervals(child, "ratio_ci95", count)
            )
            for other, child in children.items()
        },
    )


def _figures(data: Reader, key: str, count: int) -> Figures:
    values = data.get(key, list, required=True)
    if len(values) != count or not all(value is None or (is_number(value) and value >= 0) for value in values):
        raise data.error(key, f"is {shown(values)}; it must be {count} numbers, at least 0, or null where unknown")
    return tuple(values)


def _intervals(data: Reader, key: str, count: int) -> Intervals:
    values = data.get(key, list, required=True)
    if len(values) != count or not all(value is None or _is_interval(value) for value in values):
        raise data.error(key, f"is {shown(values)}; it must be {count} times [low, high], or null where unknown")
    return tuple(None if value is None else (value[0], value[1]) for value in values)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[0] <= value[1]


def prediction_lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the errors by horizon as text, for a terminal.

    Args:
        figures: of an offline evaluation.
    """
    found = predictions_of(Reader(Path(FILE), "", figures))
    horizons = "horizon" if len(found.horizons) == 1 else "horizons"
    every = "per control step" if found.every == 1 else f"every {found.every} control steps"
    lines = [
        f"predictions of the world model from {found.starts} starts, one {every} of {_episodes(found)}",
        f"mean squared error by {horizons} [control steps]; below a ratio of 1 the model is nearer than the baseline",
    ]
    shown_at = sorted({0, *found.told})
    for stream in found.streams:
        names = {"model": stream.mse} | {BASELINES[name].name: each.mse for name, each in stream.baselines.items()}
        ratios = {f"model / {BASELINES[name].name}": each.ratio for name, each in stream.baselines.items()}
        width = max(map(len, (*names, *ratios)))
        lines += ["", f"{stream.name:<{width}}" + "".join(f"  {found.horizons[i]:>10}" for i in shown_at)]
        for name, values in (names | ratios).items():
            lines.append(f"{name:<{width}}" + "".join(f"  {_cell(values[i]):>10}" for i in shown_at))
    if found.videos == 0:
        lines += ["", "no videos: the world model decodes no camera"]
    return lines


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _episodes(found: Predictions) -> str:
    return demonstrations(found.episodes, held_out=True) if found.is_held_out else _count(found.episodes, "episode")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def prediction_figure(found: Predictions) -> Markup:
    """Return the ratio of the first stream at the last horizon, as the figure of a headline."""
    stream = found.streams[0]
    name, reference = stream.reference
    ratio = reference.ratio[-1]
    scope = f"of {BASELINES[name].of_its_error}, {_count(found.horizons[-1], 'control step')} ahead"
    return element(
        "div",
        element("p", "\N{EN DASH}" if ratio is None else _short(ratio), class_="big"),
        element("p", scope, class_="scope"),
        element("p", _episodes(found), class_="certainty"),
        class_="figure",
    )


def predictions_section(found: Predictions | None, run_dir: Path) -> Markup | None:
    """Return curves of the errors by horizon, the ratios in words, and videos; None where nothing was measured."""
    if found is None:
        return None
    note = (
        f"From {_count(found.starts, 'start')} of {_episodes(found)}, the world model imagined what the recorded "
        f"actions lead to, up to {_count(found.horizons[-1], 'control step')} ahead, and saw nothing more. Curves are "
        "mean squared errors over the control steps ahead. An axis is logarithmic if its values span more than a "
        "factor of thirty."
    )
    styles = {"model": "policy"} | {
        BASELINES[name].name: BASELINES[name].style for stream in found.streams for name in stream.baselines
    }
    keys = [element("span", element("i", class_=f"swatch line {style}"), name) for name, style in styles.items()]
    return element(
        "section",
        element("h2", "Predictions"),
        element("p", note, class_="note"),
        element("p", *keys, class_="legend"),
        element("div", *[_panel(stream, found) for stream in found.streams], class_="panels"),
        *[element("p", words, class_="note") for words in sentences(found)],
        *videos_part(read_prediction_clips(run_dir)),
        class_="learning",
    )


def _panel(stream: StreamPredictions, found: Predictions) -> Markup | None:
    lines = [("policy", "model", stream.mse)]
    lines += [(BASELINES[name].style, BASELINES[name].name, each.mse) for name, each in stream.baselines.items()]
    series = [Series(style, label, _points(found.horizons, values)) for style, label, values in lines]
    series = [line for line in series if line.points]
    if not series:
        return None
    last = [
        element("span", number(line.points[-1][1]), class_=line.style, title=f"{line.label}, last horizon")
        for line in series
    ]
    caption = element("figcaption", element("code", stream.name), element("span", *last, class_="last"))
    drawn = curve_panel(f"Error of {stream.name}", series, across="control steps ahead")
    return element("figure", caption, drawn, class_="panel")


def _points(horizons: Sequence[int], values: Figures) -> list[tuple[float, float]]:
    return [(horizon, value) for horizon, value in zip(horizons, values, strict=True) if value is not None]


def sentences(found: Predictions) -> list[str]:
    """Return the ratios of each stream in words, and what they do not show."""
    told = [sentence for stream in found.streams if (sentence := _ratios(stream, found)) is not None]
    told += [words for stream in found.streams if (words := _where_it_loses(stream, found)) is not None]
    if any(stream.kind == "latent" for stream in found.streams):
        told.append(
            "Errors in a latent space depend on its scale, so they cannot be compared with those of another model. The "
            "ratios can."
        )
    if not found.is_held_out:
        told.append(
            "These episodes were not held out from training. If it saw some of them, errors on new ones may be larger."
        )
    return told


def _ratios(stream: StreamPredictions, found: Predictions) -> str | None:
    """How the model's error compares with the first baseline's; None where it is unknown."""
    name, reference = stream.reference
    parts = []
    for index in found.told:
        ratio, interval = reference.ratio[index], reference.ratio_ci95[index]
        if ratio is None:
            continue
        certainty = "" if interval is None else f" (95% interval {_short(interval[0])} to {_short(interval[1])})"
        parts.append(f"{_short(ratio)}{certainty} at {_count(found.horizons[index], 'step')}")
    if not parts:
        return None
    space = f", {KINDS[stream.kind]}" if KINDS[stream.kind] else ""
    return f"{stream.name}{space}: the model's error, divided by {BASELINES[name].of_its_error}, is {and_list(parts)}."


def _short(value: float) -> str:
    """A ratio with two digits that say something: 12.34, 0.25, 0.074, 3e-5."""
    if 0.1 <= value < 100:
        return f"{value:.2f}"
    return f"{value:.2g}" if 0.001 <= value < 0.1 else number(value)


def _where_it_loses(stream: StreamPredictions, found: Predictions) -> str | None:
    """The horizons at which the model is no nearer than the first baseline; None where there are none."""
    name, reference = stream.reference
    known = [(horizon, ratio) for horizon, ratio in zip(found.horizons, reference.ratio, strict=True) if ratio]
    lost = [str(horizon) for horizon, ratio in known if ratio >= 1]
    if not lost:
        return None
    where = "all horizons" if len(lost) == len(known) else f"{and_list(lost)} step{'s' * (lost != ['1'])} ahead"
    return f"{stream.name}: at {where}, the model is no nearer to what came than the {BASELINES[name].name}."
