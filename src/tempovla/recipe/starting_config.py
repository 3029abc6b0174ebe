"""A first config for a policy on a user's own dataset, inferred from the dataset."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, get_args

import yaml

from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect_source
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.open import open_source
from tempovla.data.stream_keys import OPTIONS, Keys, StreamKeys, suggested, vectors, with_keys
from tempovla.data.words import words_told
from tempovla.recipe.datasets.gripper import gripper_problem
from tempovla.recipe.settings.config_files import PACKAGED
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, STATE_KEY
from tempovla.timeline.source import EpisodeSource

StartingSystem = Literal["vla", "statevla", "smolvla", "sagr"]
STARTING_SYSTEMS: tuple[StartingSystem, ...] = get_args(StartingSystem)

FEWEST_EPISODES = 10
"""A dataset of fewer episodes holds none of them out."""
LONGEST_CHUNK = 100
"""Control steps of an action chunk that a small model can still learn."""
SMALL_PICTURE_PX = 128
"""Pictures whose sides are no longer than this are resized to 64 pixels, larger ones to 96."""
FEWEST_TOKENS = 8
"""An instruction has room for so many words, even where those of the dataset are shorter."""
VALIDATION_INTERVAL = 100
WIDEST_LINE = 100
"""Characters up to which a group of values is written on one line."""


@dataclass(frozen=True)
class _Names:
    """Where the config of a system has what is inferred; "" where it has no such key."""

    packaged: str
    horizon: str
    image_size: str
    positions: str = ""
    tokens: str = ""
    prediction_horizon: str = ""
    looks_after: str = ""
    chunk_positions: str = ""
    widths: tuple[str, ...] = ()


_NAMES: dict[StartingSystem, _Names] = {
    "vla": _Names(
        "vla_metaworld",
        "model.action_horizon",
        "model.vlm.vision.image_size",
        "model.vlm.language.architecture.max_position_embeddings",
        "model.max_instruction_tokens",
    ),
    "statevla": _Names(
        "statevla_metaworld",
        "model.action_seq_len",
        "model.image_size",
        prediction_horizon="model.jepa.prediction_horizon",
    ),
    "smolvla": _Names(
        "smolvla_metaworld",
        "model.chunk_size",
        "model.vlm.architecture.vision_config.image_size",
        "model.vlm.architecture.text_config.max_position_embeddings",
        "model.max_instruction_tokens",
        widths=("model.max_state_dim", "model.max_action_dim"),
    ),
    "sagr": _Names(
        "sagr_metaworld",
        "model.action_horizon",
        "model.vlm.vision.image_size",
        "model.vlm.language.architecture.max_position_embeddings",
        "model.max_instruction_tokens",
        looks_after="model.temporal_delta_k",
        chunk_positions="model.action_head.max_seq_len",
    ),
}


@dataclass(frozen=True)
class StartingConfig:
    """A config that was inferred from a dataset.

    Attributes:
        values: its keys and values, as plain JSON values.
        text: the same as YAML, with a comment on every value that was inferred.
    """

    values: Mapping[str, Any]
    text: str


def starting_config(
    root: str | Path,
    system: StartingSystem = "vla",
    *,
    state_key: Keys = None,
    action_key: Keys = None,
    depth_unit: str | None = None,
    libero_images: LiberoImages = "auto",
    default_instruction: str = "",
) -> StartingConfig:
    """Return a config that trains a small policy on a dataset as it is.

    The model is that of a packaged config that trains on a CPU; sizes and names follow the dataset.

    Args:
        root: the dataset.
        system: the system to train.
        state_key: the dataset's own key of the state; None finds it.
        action_key: the dataset's own key of the action; None finds it.
        depth_unit: unit of depth pictures where the dataset does not declare it.
        libero_images: orientation of pictures in LIBERO's files.
        default_instruction: instruction of steps that have none.

    Raises:
        DatasetError: as `inspect` does; or if the dataset has no action, no camera, or no state that StateVLA needs.
    """
    source = open_source(
        root, depth_unit=depth_unit, libero_images=libero_images, default_instruction=default_instruction
    )
    found = _Inferred(system)
    found.set("data.data_directory", str(Path(root).absolute()), "the dataset")
    for name, value, usual in (
        ("depth_unit", depth_unit, None),
        ("libero_images", libero_images, "auto"),
        ("default_instruction", default_instruction, ""),
    ):
        if value != usual:
            found.set(f"data.{name}", value, "as given")
    source = _with_its_keys(source, {STATE_KEY: state_key, ACTION_KEY: action_key}, found)
    facts = inspect_source(source)
    _infer_streams(source, found)
    _infer_sizes(source, found)
    _infer_split(source, found)
    robot = f", robot {facts['robot_type']}" if facts["robot_type"] else ""
    played = f"{with_noun(facts['episodes'], 'episode')}, {with_noun(facts['frames'], 'step')}"
    title = f"{source.name}: {played} at {facts['fps']:g} Hz{robot}"
    return StartingConfig(found.values, found.as_text(title))


class _Inferred:
    """The packaged config of a system with values of its own, and why they are what they are."""

    def __init__(self, system: StartingSystem) -> None:
        self.system, self.names = system, _NAMES[system]
        packaged = PACKAGED / f"{self.names.packaged}.yaml"
        values = yaml.safe_load(packaged.read_text(encoding="utf-8"))
        data = {"data_directory": "", **values["data"]}
        self.values: dict[str, Any] = {"system": system, **values, "data": data}
        self.reasons: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}

    def set(self, key: str, value: Any, reason: str) -> None:
        """Give a key such as `model.action_dim` a value, with the reason as a comment."""
        *groups, name = key.split(".")
        place = self.values
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
        self.reasons[key] = reason

    def note(self, key: str, text: str) -> None:
        """Add a line of its own above a key."""
        self.notes.setdefault(key, []).append(text)

    def as_text(self, title: str) -> str:
        """Return the YAML file."""
        command = f"tempovla train {self.system} --config THIS_FILE --out outputs/{self.system}"
        packaged = f"Sizes and training are those of the packaged config {self.names.packaged}, which suits a CPU."
        head = [f"# {_one_line(title)}", "#", f"#   {command}", "#", f"# {packaged}"]
        return "\n".join([*head, *self._lines(self.values, ())]) + "\n"

    def _lines(self, values: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
        margin = "  " * len(groups)
        for name, value in values.items():
            key = ".".join((*groups, name))
            yield from (f"{margin}# {_one_line(note)}" for note in self.notes.get(key, ()))
            flat = f"{margin}{name}: {_flow(value)}"
            if isinstance(value, Mapping) and (not groups or len(flat) > WIDEST_LINE or self._has_reasons(key)):
                yield f"{margin}{name}:"
                yield from self._lines(value, (*groups, name))
            else:
                reason = self.reasons.get(key)
                yield flat if reason is None else f"{flat}  # {_one_line(reason)}"

    def _has_reasons(self, group: str) -> bool:
        return any(key.startswith(f"{group}.") for key in self.reasons)


def _with_its_keys(source: EpisodeSource, given: Mapping[str, Keys], found: _Inferred) -> EpisodeSource:
    """The source with its state and its action under their usual names; what it calls them goes into the config."""
    wanted = StreamKeys.parse(given[STATE_KEY], given[ACTION_KEY], "--")
    parts = {STATE_KEY: tuple(map(str, wanted.state)), ACTION_KEY: tuple(map(str, wanted.action))}
    for key, option in OPTIONS.items():
        reason = "as given"
        if not parts[key] and key not in source.streams:
            parts[key], reason = tuple(suggested(source.streams, key)), f"there is no {key!r}; this seems to be it"
        if parts[key]:
            found.set(f"data.{option}", list(parts[key]) if len(parts[key]) > 1 else parts[key][0], reason)
    read = {name.partition("[")[0] for names in parts.values() for name in names} | set(OPTIONS)
    state = parts[STATE_KEY][0] if parts[STATE_KEY] else STATE_KEY
    for name in vectors(source.streams):
        if name not in read:
            size = source.streams[name].shape[0]
            hint = f"if it belongs to the state, give --state_key {state},{name}"
            found.note("model.robot_state_dim", f"not read: {name} ({size}); {hint}")
    return with_keys(source, StreamKeys.parse(parts[STATE_KEY] or None, parts[ACTION_KEY] or None, "--"))


def _infer_streams(source: EpisodeSource, found: _Inferred) -> None:
    """Which streams are read, and their sizes.

    Raises:
        DatasetError: if one is missing without which there is no such policy.
    """
    others = [name for name in vectors(source.streams) if name not in OPTIONS]
    if ACTION_KEY not in source.streams:
        raise DatasetError(
            f"{source.name}: has no stream that looks like an action; name it with --action_key{_of(others)}"
        )
    cameras = [key for key, stream in source.streams.items() if stream.kind == "image"]
    if not cameras:
        raise DatasetError(f"{source.name}: has no camera, but every policy needs one; record one")
    found.set("model.cameras", cameras, f"its {len(cameras)} cameras" if len(cameras) > 1 else "its camera")
    reads_depth = _infer_geometry(source, cameras, found)
    for key, stream in source.streams.items():
        if stream.kind == "depth" and not reads_depth:
            found.note("model.cameras", f"left out: {key} is depth, which these policies do not read")
        if stream.kind == "points":
            found.note(
                "model.cameras",
                f"left out: {key} is points; `tempovla train driving --config driving_city` trains a policy that reads "
                "those of a car",
            )
    for key, problem in getattr(source.streams, "left_out", {}).items():
        found.note("model.cameras", f"left out: {key}, {problem}")
    state_dim, reason = None, "the dataset has no state"
    if STATE_KEY in source.streams:
        state_dim, reason = source.streams[STATE_KEY].shape[0], f"dimensions of the state{_names(source, STATE_KEY)}"
    elif found.system == "statevla":
        raise DatasetError(
            f"{source.name}: has no stream that looks like a state, which StateVLA reads; name it with "
            f"--state_key{_of(others)}, or choose --system vla"
        )
    found.set("model.robot_state_dim", state_dim, reason)
    action_dim = source.streams[ACTION_KEY].shape[0]
    found.set("model.action_dim", action_dim, f"dimensions of the action{_names(source, ACTION_KEY)}")
    problem = gripper_problem(source) if action_dim > 1 else "the action has one dimension alone"
    is_gripper = "the last dimension of the action is always -1 or +1"
    found.set("model.has_gripper", problem is None, is_gripper if problem is None else problem)
    for key, width in zip(found.names.widths, (state_dim, action_dim), strict=False):
        found.set(key, width or 1, "as many")


def _infer_geometry(source: EpisodeSource, cameras: Sequence[str], found: _Inferred) -> bool:
    """Whether a system that can read depth does: the dataset has it for every camera, with a calibration."""
    if "geometry" not in found.values["model"]:
        return False
    depths = [DEPTH_KEY_PREFIX + camera.removeprefix(IMAGE_KEY_PREFIX) for camera in cameras]
    known = [key for key in depths if key in source.streams and source.embodiment.camera(key) is not None]
    if known == depths:
        found.set("model.geometry.kind", "depth", "every camera has depth, with its calibration")
        return True
    found.set("model.geometry", None, "not every camera has depth with its calibration")
    return False


def _infer_sizes(source: EpisodeSource, found: _Inferred) -> None:
    """How large pictures are, how long chunks and instructions."""
    names = found.names
    shapes = {key: source.streams[key].shape for key in found.values["model"]["cameras"]}
    widest = max(shapes, key=lambda key: max(shapes[key][:2]))
    height, width, _ = shapes[widest]
    side = 64 if max(height, width) <= SMALL_PICTURE_PX else 96
    found.set(names.image_size, side, f"side of the square pictures [px]; {widest} has {height}x{width}")

    lengths = [source.episode(index).length for index in range(len(source))]
    longest = round(statistics.median(lengths))
    if names.prediction_horizon:
        longest = min(lengths)  # an episode that holds no whole window is refused
        ahead = max(1, min(round(source.rate_hz / 10), min(lengths) // 2))
        found.set(names.prediction_horizon, ahead, f"steps; {ahead / source.rate_hz:.2g} s")
    horizon = max(1, min(round(source.rate_hz), longest, LONGEST_CHUNK))
    short = ", as its episodes are short" if horizon == longest < round(source.rate_hz) else ""
    reason = f"steps of a chunk; {horizon / source.rate_hz:.2g} s at {source.rate_hz:g} Hz{short}"
    found.set(names.horizon, horizon, reason)
    if names.looks_after:
        ahead = max(1, horizon // 2)
        reason = "steps to the future frame, and between two decisions: half a chunk"
        found.set(names.looks_after, ahead, f"{reason}, {ahead / source.rate_hz:.2g} s")
    if names.chunk_positions:
        found.set(names.chunk_positions, horizon, "as many as a chunk has steps")

    tokens = 0
    if names.tokens:
        words = max(len(re.findall(r"\w+", instruction)) for instruction in words_told(source))
        tokens = max(words, FEWEST_TOKENS)
        found.set(names.tokens, tokens, f"the longest instruction has {words} words")
    if names.positions:
        patches = (side // 16) ** 2 * len(shapes)
        positions = 256
        while positions < patches + tokens + horizon + 2:
            positions *= 2
        found.set(
            names.positions,
            positions,
            f"longest sequence of tokens; the pictures take {patches} of them, the words and the state the others",
        )


def _infer_split(source: EpisodeSource, found: _Inferred) -> None:
    """Whether some episodes are held out."""
    if len(source) < FEWEST_EPISODES:
        found.set("data.train_split", 1.0, f"too few to hold some out: {with_noun(len(source), 'episode')}")
        return
    found.set("data.train_split", 0.9, f"a tenth of its {len(source)} episodes validates the training")
    found.set("training.validation_interval", VALIDATION_INTERVAL, "steps between two validations")


def _names(source: EpisodeSource, key: str) -> str:
    names = shorten(", ".join(source.streams[key].names), width=60, placeholder=" ...")
    return f": {names}" if names else ""


def _of(names: Sequence[str]) -> str:
    return f", of {list(names)}" if names else ""


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _one_line(text: str) -> str:
    """A comment cannot end early: a dataset's own words are in it."""
    return "".join(character if character.isprintable() else " " for character in re.sub(r"\s+", " ", text))
